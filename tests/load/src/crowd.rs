//! Subscribers and publishers on one channel. Each has a connection of its own, and at most one request under way.

use std::{rc::Rc, time::Duration};

use crate::{
    Common, Outcome, clock,
    metrics::Metrics,
    progress,
    publisher::Publisher,
    sent::Sent,
    talk::{Delivery, Talk},
    tally::{Published, Tally, Verdict},
    wire::Wire,
};

/// All of them. Connections are those of the subscribers, then those of the publishers.
pub(crate) struct Crowd {
    wire: Wire,
    talk: Talk,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    /// Whether a subscriber polls again as soon as it is answered.
    pub(crate) polls_again: bool,
    /// Whether a publisher publishes again as soon as it is answered.
    pub(crate) publishes_again: bool,
    /// How long nothing may come before what is missing counts as lost.
    patience: Duration,
    /// What did not come although it was waited for. It is not waited for again before the end.
    given_up: u64,
}

#[derive(Default)]
struct Subscriber {
    tally: Tally,
    /// Its last answer.
    last: Option<Rc<Delivery>>,
}

/// An event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A subscriber has a message, this long after it was sent.
    Delivered(Sent, Duration),
    /// A publisher was told that its message is published, this long after it was sent.
    Accepted(Duration),
}

impl Crowd {
    /// Opens connections, and has all subscribers poll after a first message. So all have the same position, and must
    /// get every later message, however late their next poll comes.
    pub(crate) fn gather(common: &Common, held: usize, publishers: usize) -> Outcome<Self> {
        let mut crowd = Self {
            wire: Wire::new(common.target.clone())?,
            talk: Talk::new(common.dialect, &common.target, &common.new_channel()),
            subscribers: (0..held).map(|_| Subscriber::default()).collect(),
            publishers: (0..publishers).map(|number| Publisher::new(number, held + number, common.bytes)).collect(),
            polls_again: true,
            publishes_again: false,
            patience: common.patience()?,
            given_up: 0,
        };
        for number in 0..held + publishers {
            progress(format_args!("{number} of {} connections", held + publishers));
            crowd.wire.open()?;
        }
        crowd.publish(0)?;
        crowd.until_accepted()?;
        let first = crowd.talk.first();
        for number in 0..held {
            crowd.wire.send(number, &first)?;
        }
        match crowd.until_delivered(&mut |_, _| ())? {
            0 => Ok(crowd),
            lacking => Err(format!("{lacking} of {held} were not answered the first message").into()),
        }
    }

    /// One publisher publishes its next message.
    pub(crate) fn publish(&mut self, publisher: usize) -> Outcome<()> {
        let publisher = self.publishers.get_mut(publisher).ok_or("there is no such publisher")?;
        publisher.publish(&self.talk, &mut self.wire)
    }

    /// All publishers publish their next message.
    pub(crate) fn all_publish(&mut self) -> Outcome<()> {
        (0..self.publishers.len()).try_for_each(|publisher| self.publish(publisher))
    }

    /// All subscribers poll from their last answer.
    pub(crate) fn all_poll(&mut self) -> Outcome<()> {
        for (number, subscriber) in self.subscribers.iter().enumerate() {
            let last = subscriber.last.as_ref().ok_or("who polls again was answered before")?;
            self.wire.send(number, &last.next)?;
        }
        Ok(())
    }

    /// Waits until something comes, at most until this moment.
    pub(crate) fn turn(&mut self, until: Duration, heard: &mut impl FnMut(Event)) -> Outcome<()> {
        let Self { wire, talk, subscribers, publishers, .. } = self;
        let (polls_again, publishes_again) = (self.polls_again, self.publishes_again);
        let held = subscribers.len();
        wire.turn(until, &mut |wire, number, response| {
            let now = clock::now();
            if let Some(subscriber) = subscribers.get_mut(number) {
                let delivery = talk.delivery(response)?;
                for sent in &delivery.messages {
                    subscriber.tally.hear(*sent);
                    heard(Event::Delivered(*sent, now.saturating_sub(sent.at)));
                }
                if polls_again {
                    wire.send(number, &delivery.next)?;
                }
                subscriber.last = Some(delivery);
            } else if let Some(publisher) = publishers.get_mut(number - held) {
                if let Some(took) = publisher.answered(response, now)? {
                    heard(Event::Accepted(took));
                }
                if publishes_again {
                    publisher.publish(talk, wire)?;
                }
            }
            Ok(())
        })
    }

    /// Lets this time pass while everything goes on.
    pub(crate) fn pause(&mut self, pause: Duration) -> Outcome<()> {
        let until = clock::now() + pause;
        while clock::now() < until {
            self.turn(until, &mut |_| ())?;
        }
        Ok(())
    }

    /// Waits until all subscribers have everything. Returns how much was not delivered when nothing came any more.
    pub(crate) fn until_delivered(&mut self, heard: &mut impl FnMut(Sent, Duration)) -> Outcome<u64> {
        let mut awaited = self.lacking().saturating_sub(self.given_up);
        let mut quiet_since = clock::now();
        while awaited > 0 && clock::now() < quiet_since + self.patience {
            let before = awaited;
            self.turn(quiet_since + self.patience, &mut |event| {
                if let Event::Delivered(sent, took) = event {
                    // A repeated message was not awaited. The verdict reports it.
                    awaited = awaited.saturating_sub(1);
                    heard(sent, took);
                }
            })?;
            if awaited < before {
                quiet_since = clock::now();
            }
        }
        let lacking = self.lacking();
        let new = lacking.saturating_sub(self.given_up);
        self.given_up = lacking;
        Ok(new)
    }

    /// Waits until no publisher waits for an answer.
    pub(crate) fn until_accepted(&mut self) -> Outcome<()> {
        let until = clock::now() + self.patience;
        while self.publishers.iter().any(Publisher::waits) {
            if clock::now() >= until {
                return Err("a publish was not answered".into());
            }
            self.turn(until, &mut |_| ())?;
        }
        Ok(())
    }

    /// Waits until the server reports as many held polls as there are subscribers. Returns whether it does; most
    /// servers report nothing.
    pub(crate) fn until_held(&mut self, common: &Common) -> Outcome<bool> {
        let until = clock::now() + self.patience;
        let held = self.subscribers.len() as f64;
        while let Some(metrics) = Metrics::ask(&common.target)? {
            if metrics.holds() >= held {
                return Ok(true);
            }
            if clock::now() >= until {
                return Err(format!("{} polls are held instead of {held}", metrics.holds()).into());
            }
            self.pause(Duration::from_millis(2))?;
        }
        Ok(false)
    }

    /// Messages that publishers sent so far, and how many of them were refused.
    pub(crate) fn published(&self) -> (u64, u64) {
        let published = self.publishers.iter().map(|publisher| &publisher.published);
        published.fold((0, 0), |(sent, refused), one| (sent + one.next, refused + one.refused.len() as u64))
    }

    /// The messages that subscribers do not have yet, of all of them together.
    fn lacking(&self) -> u64 {
        let published = self.all_published();
        self.subscribers.iter().map(|subscriber| subscriber.tally.lost(&published)).sum()
    }

    /// Waits once more for what is missing, and judges what was delivered. Nobody may publish meanwhile.
    pub(crate) fn verdict(&mut self) -> Outcome<Verdict> {
        self.until_accepted()?;
        self.given_up = 0;
        self.until_delivered(&mut |_, _| ())?;
        Ok(Verdict::of(self.subscribers.iter().map(|subscriber| &subscriber.tally), &self.all_published()))
    }

    fn all_published(&self) -> Vec<Published> {
        self.publishers.iter().map(|publisher| publisher.published.clone()).collect()
    }
}

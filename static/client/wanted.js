// What the tabs of a browser want from the one that leads, and its position in each of those channels.

/** @import { Positions } from './types.js' */

import { Place } from './place.js';

/** The most channels that one poll can ask for, as the server allows. */
export const CHANNELS_MAX = 20;

/** How often all tabs are asked what they want: a tab that crashed does not say that it wants nothing any more. */
const CALL_MS = 20_000;

export class Wanted {
  /**
   * What other tabs want; `old` if that is from before they were last asked.
   *
   * @type {Map<string, {want: Positions, old?: true}>}
   */
  tabs = new Map();
  /** The positions of the leader, by channel. @type {Map<string, Place>} */
  places = new Map();
  calledAt = -Infinity;

  /** Whether it is time to ask all tabs. Those that have not answered since the last time are gone. @param {number} now */
  call(now) {
    if (now - this.calledAt < CALL_MS) return false;
    this.calledAt = now;
    for (const [tab, said] of this.tabs) {
      if (said.old) this.tabs.delete(tab);
      said.old = true;
    }
    return true;
  }

  /**
   * Follows what is wanted now, and returns whether the set has changed. Positions that there are stay.
   *
   * @param {Positions} own what this tab wants
   */
  update(own) {
    const all = [...[...this.tabs.values()].flatMap(({ want }) => [...want]), ...own];
    const before = `${[...this.places.keys()]}`;
    const places = all.map(([channel, cursor]) => this.places.get(channel) ?? new Place(channel, cursor));
    const known = new Map(places.map((place) => [place.channel, place]));
    // Their order is that of their turns.
    this.places = new Map([...this.places, ...known].filter(([channel]) => known.has(channel)));
    return `${[...this.places.keys()]}` !== before;
  }

  /** The places for the next poll. If there are too many for one, they come in turns. */
  next() {
    const places = [...this.places.values()].slice(0, CHANNELS_MAX);
    for (const place of places) {
      this.places.delete(place.channel);
      this.places.set(place.channel, place);
    }
    return places;
  }
}

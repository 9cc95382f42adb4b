"""Prints what is said in a channel. After a restart it goes on where it was: python3 follow.py [BASE] [CHANNEL]
A server with keys needs a token, in LINGER_TOKEN."""
import os, pathlib, sys, time
import requests

base, channel = (sys.argv[1:] + ["http://127.0.0.1:3000", "lobby"][len(sys.argv) - 1 :])[:2]
saved = pathlib.Path(f"{channel}.cursor")
cursor = saved.read_text().strip() if saved.exists() else "earliest"
token = os.environ.get("LINGER_TOKEN")
headers = {"Authorization": f"Bearer {token}"} if token else {}
while True:
    try:  # A poll is held for up to 25 s. The timeout must be longer.
        answer = requests.get(f"{base}/sub", {"channel": channel, "cursor": cursor}, headers=headers, timeout=40)
        answer.raise_for_status()
        batch = answer.json()
    except requests.RequestException as error:
        print(error, file=sys.stderr)
        time.sleep(2)
        continue
    if batch["missed"]:
        print("some messages are gone", file=sys.stderr)
    for message in batch["messages"]:
        print(f"{message['nick'] or 'anonymous'}: {message['message']}", flush=True)
    cursor = batch["cursor"]
    saved.write_text(cursor)

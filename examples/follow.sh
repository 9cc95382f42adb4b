#!/bin/sh
# Prints what is said in a channel. After a restart it goes on where it was: follow.sh [BASE] [CHANNEL]
# A server with keys needs a token, in LINGER_TOKEN.
base=${1:-http://127.0.0.1:3000}
channel=${2:-lobby}
cursor=$(cat "$channel.cursor" 2>/dev/null) || cursor=earliest
set -- ${LINGER_TOKEN:+-H "Authorization: Bearer $LINGER_TOKEN"}
while :; do
  # A poll is held for up to 25 s: --max-time must be longer. --fail: an error is no batch.
  if batch=$(curl -sS --fail --max-time 40 "$@" "$base/sub?channel=$channel&cursor=$cursor"); then
    printf '%s\n' "$batch" | jq -r 'if .missed then "some messages are gone" else empty end' >&2
    printf '%s\n' "$batch" | jq -r '.messages[] | "\(.nick // "anonymous"): \(.message)"'
    cursor=$(printf '%s\n' "$batch" | jq -r .cursor)
    printf '%s\n' "$cursor" >"$channel.cursor"
  else
    sleep 2
  fi
done

# What deploy and undeploy share. All three run in bash 3.2, which macOS has: no readarray, and an array that is empty is
# no array to `set -u`.

stack=linger
dry_run=
profile=
where=()
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Takes an argument that both have. `taken` is how many words it was, 0 if it is none of theirs.
take_common() {
  taken=2
  case $1 in
    --dry-run) dry_run=1 && taken=1 ;;
    --stack | --region | --profile)
      [ $# -ge 2 ] || fail "$1 needs a value"
      if [ "$1" = --stack ]; then stack=$2; else where+=("$1" "$2"); fi
      [ "$1" != --profile ] || profile=$2
      ;;
    *) taken=0 ;;
  esac
}

# Shows a command, without the secret, and runs it unless this is only to show them. The region and the profile count for
# each.
run() {
  set -- "$@" ${where[@]+"${where[@]}"}
  printf '+ %s\n' "$*" | sed 's/\(OriginSecret[A-Za-z]*\)=[0-9a-f][0-9a-f]*/\1=***/g'
  [ -n "$dry_run" ] || "$@"
}

# Asks AWS something, and answers nothing for what it says is not there.
ask() {
  local said
  [ -z "$dry_run" ] || return 0
  said=$(aws "$@" --output text ${where[@]+"${where[@]}"}) || return
  [ "$said" = None ] || printf '%s\n' "$said"
}

# How the stack is, such as CREATE_COMPLETE; nothing if there is none.
stack_status() {
  ask cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].StackStatus' 2>"$folder/error" && return
  grep -q 'does not exist' "$folder/error" || { cat "$folder/error" >&2 && return 1; }
}

# What the stack says of itself.
output() {
  [ -z "$dry_run" ] || { echo "<$1>" && return; }
  ask cloudformation describe-stacks --stack-name "$stack" \
    --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue | [0]"
}

# Whether the answer is the very name that was asked for.
agreed() {
  local answer=
  [ -z "$dry_run" ] || return 0
  read -r -p "$1 Type $2 to go on: " answer || true
  [ "$answer" = "$2" ]
}

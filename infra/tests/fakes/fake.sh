# shellcheck shell=bash
# The functions that the fakes of parent.test.sh share. Sourced as the first thing; $FAKES is the folder of their state.
#
# Each call is a line in $FAKES/calls. The file $FAKES/fail makes one fail: NAME INDEX STATUS [late], where late is after
# it has done its work.

name=${0##*/}
exec 8>>"$FAKES/lock"
flock 8
{ printf '%s' "$name"; printf ' %q' "$@"; echo; } >>"$FAKES/calls"
fail_with='' fail_late=''
if [[ -s $FAKES/fail ]]; then
    read -r fail_name fail_index fail_status fail_late <"$FAKES/fail"
    if [[ $fail_name == "$name" && $(grep -c "^$name" "$FAKES/calls") == "$fail_index" ]]; then
        fail_with=$fail_status
    fi
fi

fail_now() {
    printf '[ E%s ] %s failed, because a test wants it.\n' "$1" "$name" >&2
    exit "$1"
}

finish() {
    [[ -z $fail_with ]] || fail_now "$fail_with"
    exit 0
}

[[ -z $fail_with || $fail_late ]] || fail_now "$fail_with"

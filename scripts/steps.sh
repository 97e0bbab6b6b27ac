# Sourced by the scripts beside it: named steps, all of them run, one clear line at the end.
#
#   begin NAME                make .venv/test and name the run
#   step TITLE COMMAND...     run a command, remember whether it failed
#   finish                    print the closing line and exit

set -u
unset PYTHONPATH PYTHONHOME
failed=

begin() {
    run_name=$1
    # It says itself what went wrong.
    sh scripts/venv.sh test editable test,check,docs || exit 1
    echo "ppnext: make $run_name"
    bin=$(pwd)/.venv/test/bin
}

step() {
    title=$1
    shift
    echo
    echo "== $title"
    "$@" </dev/null || {
        echo "== $title: FAILED"
        failed="${failed:+$failed, }$title"
    }
}

finish() {
    echo
    if [ -n "$failed" ]; then
        echo "ppnext: make $run_name: FAILED: $failed"
        exit 1
    fi
    echo "ppnext: make $run_name: all passed"
    exit 0
}

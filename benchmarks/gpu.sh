#!/bin/bash
# What one GPU and the cores beside it do, in at most eight minutes and without a network:
#
#   benchmarks/gpu.sh                          on a machine with a GPU; .venv is built, or PYTHON names another Python
#   benchmarks/gpu.sh --device cpu --quick     does everything run? The figures mean nothing
#   benchmarks/gpu.sh --results FOLDER         for gpu.md and gpu.json, in place of $OUT or benchmarks/results
#
# Recordings, YuNet's weights and trained teachers are named as for the other benchmarks: LISER_TEST_DATA, DEEPFACE_HOME,
# LISER_S2D, LISER_HUBERT (README.md). Each part is stopped at its limit, and none ends the others.
set -u
given="$*" device=cuda quick="" results=${OUT:-} python=${PYTHON:-}
while [ $# -gt 0 ]; do
    case $1 in
        --device | --results) declare "${1#--}=${2:?"$1 needs a value"}" && shift 2 ;;
        --quick) quick=--quick && shift ;;
        *) sed -n 's/^# \{0,1\}//p' "$0" | sed 1d >&2 && exit 2 ;;
    esac
done
[ -z "$results" ] || results=$(realpath -m "$results") # named from where this is called, as PYTHON is
[[ $python != */* ]] || python=$(realpath -ms "$python") # as it is: a link would lead out of its environment
cd "$(dirname "$0")/.." || exit
[ -n "$results$quick" ] || results=benchmarks/results
python=${python:-.venv/bin/python}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
unset PYTHONDONTWRITEBYTECODE RAY_ADDRESS
[ "$device" = cuda ] || export CUDA_VISIBLE_DEVICES=""
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
"$python" -c "import sys, torch; sys.exit('$device' == 'cuda' and not torch.cuda.is_available())" || {
    echo "$python has no PyTorch, or one without a GPU: give --device cpu, or PYTHON with another Python" >&2
    exit 1
}

# part NAME SECONDS COMMAND...: runs it, and notes how long it took and how it ended.
part() {
    local name=$1 limit=$2 started=$SECONDS
    shift 2
    [ -z "$quick" ] || limit=900 # of a slow core that has other work
    echo "== $name, at most $limit s" >&2
    timeout -k 2 "$limit" "$python" "$@" > "$work/$name.log" 2>&1 < /dev/null
    printf '%s\t%s\t%s\t%s\n' "$name" $((SECONDS - started)) "$limit" $? >> "$work/parts.tsv"
}

part parity 40 -m pytest -q -p no:cacheprovider --durations=1 tests/teachers/test_s2d.py tests/teachers/test_speech.py \
    -k "parity or gpu_equals_cpu" ${quick:+-m "not slow"}
part teachers 85 benchmarks/teacher_speed.py --device "$device" $quick --results "$work/teachers"
part labeling 130 benchmarks/end_to_end.py --ways job ${quick:---full_size --span_seconds 16 --spans 300} \
    --results "$work/labeling"
part training 50 benchmarks/student_training.py --device "$device" ${quick:---epochs 1} --results "$work/training"
part search 55 benchmarks/search_speed.py $quick --results "$work/search"
part compiled $((8 * 60 - 10 - SECONDS)) benchmarks/teacher_speed.py --device "$device" --compile $quick \
    --results "$work/compiled"
"$python" benchmarks/gpu_page.py "benchmarks/gpu.sh${given:+ $given}" "$work" ${results:+"$results"}

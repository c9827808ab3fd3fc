#!/usr/bin/env bash
# What a GPU does, in at most eight minutes of it: the tests that need one, and small tables of speed and memory, each
# with a time limit of its own; one Markdown file of all that came out of it, also where parts failed or took too long.
#
#   bash benchmarks/gpu_proof.sh OUT.md [WORK]
#
# WORK      where the sets are made and kept (default: a new temporary folder). Training them is most of the time: make
#           them beforehand, where there is no GPU, by  python benchmarks/gpu_proof.py prepare --work WORK
# DEVICE    cuda (default), cuda:1, cpu
# PARTS     which, with their limits in seconds (default: tests=90 heads=100 images=90 bert=80 refit=60 loading=60)
# PYTHON    the interpreter (default: python)
#
# Ends with 1 if a part failed or met its limit.
set -uo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
out=$(realpath -m "${1:?where to write the Markdown file}")
work=$(realpath -m "${2:-$(mktemp -d "${TMPDIR:-/tmp}/trojai-seam-gpu.XXXXXX")}")
device=${DEVICE:-cuda}
python=${PYTHON:-python}
mkdir -p "$work" "$(dirname "$out")"
cd "$checkout" || exit 2

run() {
  if [[ $1 == tests ]]; then
    "$python" -m pytest -m gpu -q -n 0 -p no:cacheprovider -rs tests
  else
    "$python" -W ignore benchmarks/gpu_proof.py "$1" --work "$work" --device "$device"
  fi
}
export -f run
export python work device PYTHONPATH="$checkout${PYTHONPATH:+:$PYTHONPATH}"

{
  echo "# What a GPU does"
  echo
  echo "Made by \`benchmarks/gpu_proof.sh\` at $(git describe --always --dirty 2>/dev/null || echo unknown), $(date -u +%F);"
  echo "device $device: $(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null || echo no GPU);"
  echo "$("$python" -c 'import platform, torch; print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}")')."
} >"$out"
failures=0
for part in ${PARTS:-tests=90 heads=100 images=90 bert=80 refit=60 loading=60}; do
  name=${part%=*} limit=${part#*=} began=$SECONDS
  timeout --kill-after=5 "$limit" bash -c "run $name" >"$work/$name.out" 2>"$work/$name.log"
  code=$?
  {
    printf '\n## %s (%s s of at most %s)\n\n' "$name" "$((SECONDS - began))" "$limit"
    if [[ $name == tests ]]; then
      printf '```\n%s\n```\n' "$(tail -n 30 "$work/$name.out")"
    else
      cat "$work/$name.out"
    fi
    case $code in
      0) ;;
      124 | 137) printf '\nStopped: it took longer.\n' ;;
      *) printf '\nFailed with %s:\n\n```\n%s\n```\n' "$code" "$(tail -n 15 "$work/$name.log")" ;;
    esac
  } >>"$out"
  [[ $code == 0 ]] || failures=$((failures + 1))
done
cat "$out"
exit $((failures > 0))

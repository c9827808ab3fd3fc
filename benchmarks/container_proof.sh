#!/usr/bin/env bash
# Builds the Dockerfile for real and runs the image as a TrojAI server would: read-only root, 64 MiB of home and /tmp,
# no network, a caller without a name. Docker where its daemon answers, else buildah (Debian package; as root, because
# the base is made by debootstrap and the run is a chroot in namespaces of its own).
#
#   bash benchmarks/container_proof.sh [WORK]
#
# WORK                 kept, so that a second run builds nothing anew (default: a new temporary folder)
# BASE_IMAGE           of the Dockerfile; without Docker: made here by debootstrap
# TORCH_INDEX_URL      of the Dockerfile: https://download.pytorch.org/whl/cpu makes a much smaller image without CUDA
# PIP_CONF, CA_BUNDLE  files that the build may need behind a mirror; they do not get into the image
# MODELS               folders of model directories of any round to try beside the PDF demo (id-XXXXXXXX, …)
# OPTIONS              more options for their `mitigate`, such as "--forget_epochs_factor 0.1" on a slow CPU
# TROJAI_SEAM_SHARED   the shared folder of the tests, for NIST's real model and the period models
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
work=${1:-$(mktemp -d "${TMPDIR:-/tmp}/trojai-seam-container.XXXXXX")}
mkdir -p "$work"
work=$(cd "$work" && pwd -P)
shared=${TROJAI_SEAM_SHARED:-$checkout/../shared}
image=localhost/trojai-seam-proof
caller=12345:12345
failures=0

say() { printf '\n== %s\n' "$*"; }

# --- build -------------------------------------------------------------------------------------------------------------

build_arguments=()
[[ -n ${TORCH_INDEX_URL:-} ]] && build_arguments+=(--build-arg "TORCH_INDEX_URL=$TORCH_INDEX_URL")
[[ -n ${PIP_CONF:-} ]] && build_arguments+=(--secret "id=pip.conf,src=$PIP_CONF")
[[ -n ${CA_BUNDLE:-} ]] && build_arguments+=(--secret "id=ca-bundle,src=$CA_BUNDLE")
commit=$(git -C "$checkout" rev-parse HEAD 2>/dev/null || echo unknown)
build_arguments+=(--build-arg "COMMIT=$commit")

builder() { buildah --root "$work/store" --runroot "$work/runroot" --storage-driver vfs "$@"; }

build_with_docker() {
  [[ -n ${BASE_IMAGE:-} ]] && build_arguments+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
  DOCKER_BUILDKIT=1 docker build "${build_arguments[@]}" -t "$image" "$checkout"
  docker image inspect "$image" --format '{{.Size}} bytes, entry point {{.Config.Entrypoint}}, user {{.Config.User}}'
}

build_with_buildah() {
  if [[ -z ${BASE_IMAGE:-} ]]; then
    BASE_IMAGE=localhost/trojai-seam-base
    if ! builder inspect --type image "$BASE_IMAGE" >/dev/null 2>&1; then
      debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/base"
      tar -C "$work/base" -cf "$work/base.tar" .
      printf 'FROM scratch\nADD base.tar /\n' >"$work/Base.Dockerfile"
      builder bud --isolation chroot -t "$BASE_IMAGE" -f "$work/Base.Dockerfile" "$work"
      rm -rf "$work/base" "$work/base.tar"
    fi
  fi
  if [[ ! -d $work/root ]]; then
    builder bud --isolation chroot --layers=false --build-arg "BASE_IMAGE=$BASE_IMAGE" "${build_arguments[@]}" \
      -t "$image" -f "$checkout/Dockerfile" "$checkout"
    ln -s "$(builder mount "$(builder from "$image")")" "$work/root"
  fi
  builder inspect --type image --format '{{.OCIv1.Config.Entrypoint}} user {{.OCIv1.Config.User}} {{.OCIv1.Config.Labels}}' "$image"
  builder inspect --type image --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' "$image" >"$work/image.env"
  du -sh "$work/root/"
}

# --- run ---------------------------------------------------------------------------------------------------------------
# enter ARGUMENTS…: the image's entry point; enter_with PROGRAM ARGUMENTS…: another program of the image. $work/data is
# /data, read-only; $work/out is /out, the only disk that can be written.

enter_with_docker() {
  local entry=()
  [[ -n $1 ]] && entry=(--entrypoint "$1")
  shift
  docker run --rm --read-only --network none --user "$caller" --env HOME=/home/trojai "${entry[@]}" \
    --tmpfs /tmp:size=64m,mode=1777 --tmpfs /home/trojai:size=64m,mode=1777 \
    --volume "$work/data:/data:ro" --volume "$work/out:/out" "$image" "$@"
}

# In a mount and network namespace of its own. The root is bound onto itself and made read-only; if the kernel refuses
# (some sandboxes), that is said, and the caller without rights is what keeps it unwritten.
enter_with_chroot() {
  local program=$1
  shift
  local entry=("$program")
  [[ -z $program ]] && entry=(/opt/trojai-seam/bin/python -m trojai_seam.container)
  WORK=$work CALLER=$caller unshare --mount --net --pid --fork bash -euo pipefail -c '
    root=$(realpath "$WORK/root")
    mkdir -p "$root/data" "$root/out" "$root/home/trojai"
    mount --bind "$root" "$root"
    mount --bind "$WORK/data" "$root/data"
    mount --bind "$WORK/out" "$root/out"
    mount -t tmpfs -o size=64m,mode=1777 tmpfs "$root/tmp"
    mount -t tmpfs -o size=64m,mode=1777 tmpfs "$root/home/trojai"
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    mount -o remount,bind,ro "$root/data"
    mount -o remount,bind,ro "$root" || echo "the root could not be made read-only here" >&2
    mapfile -t environment <"$WORK/image.env"
    exec chroot --userspec="$CALLER" --groups= "$root" /usr/bin/env -i HOME=/home/trojai "${environment[@]}" "$@"
  ' enter "${entry[@]}" "$@"
}

if docker info >/dev/null 2>&1; then
  engine=docker
  run_in() { enter_with_docker "$@"; }
else
  engine=chroot
  run_in() { enter_with_chroot "$@"; }
fi
enter() { run_in "" "$@"; }

check() {
  local name=$1
  shift
  if "$@"; then echo "ok: $name"; else
    echo "FAILED: $name"
    failures=$((failures + 1))
  fi
}

# --- what is tried -----------------------------------------------------------------------------------------------------

prepare() {
  rm -rf "$work/data" "$work/out"
  mkdir -p "$work/data" "$work/out"
  # The tests run against the image's trojai_seam: only tests and pytest itself come from outside.
  mkdir "$work/data/checks"
  cp -r "$checkout/tests" "$checkout/pyproject.toml" "$work/data/checks/"
  "${PYTHON:-python3}" -m pip install --quiet --target "$work/data/site" pytest
  if [[ -d $shared/era-models ]]; then
    mkdir "$work/data/shared"
    cp -r "$shared/era-models" "$shared/hostile-models" "$shared/trojai-examples" "$work/data/shared/"
  fi
  local folder
  for folder in ${MODELS:-}; do cp -r "$folder" "$work/data/"; done
  chmod -R a+rX "$work/data"
  chown "$caller" "$work/out" 2>/dev/null || chmod 777 "$work/out"
}

# mitigate_and_test MODEL_DIRECTORY CLEAN TEST NAME [OPTIONS…]: as the server does, in two processes.
mitigate_and_test() {
  local model=$1 clean=$2 test=$3 name=$4
  shift 4
  local fixed=(--metaparameters_filepath /metaparameters.json --schema_filepath /metaparameters_schema.json
    --output_dirpath "/out/$name" --scratch_dirpath "/out/$name/scratch" "$@")
  enter mitigate "${fixed[@]}" --model_filepath "$model/model.pt" --dataset "$clean" --model_output_name mitigated.pt &&
    enter test "${fixed[@]}" --model_filepath "/out/$name/mitigated.pt" --dataset "$test" &&
    run_in /opt/trojai-seam/bin/python -c '
import json, sys
results = json.load(open(sys.argv[1]))
print(len(results), "results; first:", *next(iter(results.items())))' "/out/$name/results.json"
}

isolation() {
  run_in /opt/trojai-seam/bin/python -c '
import os, shutil, socket, sys
problems = []
try:
    socket.create_connection(("192.0.2.1", 80), timeout=3)
    problems.append("a connection was made")
except OSError as refused:
    print("network:", refused)
for path in ("/written", "/opt/trojai-seam/written", "/data/written"):
    try:
        open(path, "w").close()
        problems.append(f"{path} could be written")
    except OSError as refused:
        print(f"{path}: {refused.strerror}")
for path in ("/tmp", os.environ["HOME"]):
    size = shutil.disk_usage(path).total
    print(f"{path}: {size // 2**20} MiB")
    if size > 65 * 2**20:
        problems.append(f"{path} is larger than 64 MiB")
print("caller", os.getuid(), "torch", __import__("torch").__version__, "python", sys.version.split()[0])
sys.exit("; ".join(problems) or 0)'
}

conformance() {
  run_in /usr/bin/env PYTHONPATH=/data/site TROJAI_SEAM_SHARED=/data/shared TMPDIR=/out/tmp OMP_NUM_THREADS=1 \
    /opt/trojai-seam/bin/python -m pytest -p no:cacheprovider --rootdir /data/checks -c /data/checks/pyproject.toml \
    --basetemp /out/pytest -q /data/checks/tests/container
}

batch() {
  enter evaluate "$1" --out "/out/$2" --device cpu "${@:3}"
  [[ -s $work/out/$2/results.csv ]] && stat --format '%n belongs to %u:%g' "$work/out/$2/results.csv" &&
    [[ $(stat --format %u:%g "$work/out/$2/results.csv") == "$caller" ]]
}

say "build with $engine"
build_with_"${engine/chroot/buildah}"
prepare
mkdir -p "$work/out/tmp" && chmod 777 "$work/out/tmp"

say "isolation"
check "no network, read-only, 64 MiB" isolation
say "contents"
run_in /bin/cat /CONTENTS.txt /metaparameters.json | head -80
say "demo: a round made, evaluated, tables outside"
check "evaluate on a synthesised folder" enter synthesize cyber-pdf-dec2022 --out /out/round --models 4
check "evaluate" batch /out/round run --quiet
say "the oldest detection form, nothing learned"
enter --model_filepath /out/round/models/id-00000001/model.pt --result_filepath /out/result.txt --scratch_dirpath /out/s \
  --examples_dirpath /out/round/models/id-00000001/clean-example-data
check "0.5 without learned parameters" grep -qx 0.500000 "$work/out/result.txt"
if [[ -d $work/data/shared ]]; then
  say "NIST's real PDF model"
  pdf=/data/shared/trojai-examples/cyber-pdf-dec2022
  check "mitigate, then test" mitigate_and_test "$pdf/models/id-00000002" "$pdf/models/id-00000002/clean-example-data" \
    "$pdf/models/id-00000002/poisoned-example-data" pdf --scale_parameters_filepath "$pdf/scale_params.npy"
  check "evaluate" batch "$pdf" pdf-run
fi
for folder in ${MODELS:-}; do
  name=$(basename "$folder")
  say "$name"
  first=$(find "$folder" -maxdepth 3 -name model.pt | sort | head -1)
  inside=/data/$name/$(dirname "$(realpath --relative-to "$folder" "$first")")
  clean=$(find "$(dirname "$first")" -maxdepth 1 -type d -name '*clean*example*data' -o -maxdepth 1 -name example_data |
    head -1 | xargs basename)
  check "mitigate, then test" mitigate_and_test "${inside%/.}" "${inside%/.}/$clean" "${inside%/.}/$clean" "$name" ${OPTIONS:-}
done
say "conformance tests inside the image"
check "tests/container" conformance

say "$engine: $failures checks failed, $SECONDS s"
exit $((failures > 0))

#!/usr/bin/env bash
# Build both images without a daemon, train on a small demo catalogue in one and classify a product in the other, each
# hardened: read-only root, no capabilities, no new privileges, a user without a name, and only BENTOML_HOME and /tmp
# writable. Prints what it measured.
#
#   benchmarks/container.sh [BASE_IMAGE]
#
# Needs root, buildah, runc, curl and, without BASE_IMAGE, mmdebstrap: it then makes a base of Debian's packages, so that
# no image registry is needed. STORAGE names a folder in which layers are kept for the next time, STEPS some of
# "train serve run" (the images to build, and whether to run them), N_PRODUCTS how many products to train on.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${PORT:-3917}
key=container-check
digest=$(printf %s "$key" | sha256sum | cut -d' ' -f1)
scratch=$(mktemp -d)
export STORAGE_DRIVER=vfs
storage=${STORAGE:-$scratch/storage}
buildah=(buildah --root "$storage" --runroot "$scratch/run")
id="winnow-$$"
containers=()

clean() {
  runc delete --force "$id" >/dev/null 2>&1 || true
  for container in "${containers[@]}"; do "${buildah[@]}" rm "$container" >/dev/null 2>&1 || true; done
  rm -rf "$scratch"
}
trap clean EXIT

make_base() {
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$scratch/base.tar"
  local made
  made=$("${buildah[@]}" from scratch)
  "${buildah[@]}" add --quiet "$made" "$scratch/base.tar" / >/dev/null
  "${buildah[@]}" commit --quiet --rm "$made" "$1" >/dev/null
}

configured() { # OPTION: what this machine's pip is told, by a file or by the environment
  python3 -m pip config get ":env:.$1" 2>/dev/null || python3 -m pip config get "global.$1" 2>/dev/null || true
}

build() { # TARGET
  # How this machine's pip finds packages, for the build alone; nothing of it stays in the image.
  local reach=(--env PIP_CERT=/etc/ssl/certs/ca-certificates.crt --volume /etc/ssl/certs:/etc/ssl/certs:ro)
  [ -e /etc/pip.conf ] && reach+=(--volume /etc/pip.conf:/etc/pip.conf:ro)
  local wheels found
  wheels=${WHEELS:-$(configured find-links)}
  reach+=(--build-arg PIP_FIND_LINKS="$wheels" --build-arg PIP_EXTRA_INDEX_URL="$(configured extra-index-url)")
  found=$(printf '%s\n' $wheels $(configured extra-index-url) | sed -n 's#^\(file://\)\?\(/[^/]*/[^/]*\).*#\2#p' | sort -u)
  for folder in $found; do
    [ -d "$folder" ] && reach+=(--volume "$folder:$folder:ro")
  done
  [ -d /etc/apt/apt.conf.d ] && reach+=(--volume /etc/apt/apt.conf.d:/etc/apt/apt.conf.d:ro)
  local started=$SECONDS
  "${buildah[@]}" bud --quiet --format docker --layers --isolation chroot --network host --pull-never "${reach[@]}" \
    --build-arg PYTHON_IMAGE="$base" --target "$1" --tag "localhost/winnow-$1:check" . >/dev/null
  echo "$1 image: built in $((SECONDS - started)) s"
}

mounted() { # TARGET: sets root
  local container
  container=$("${buildah[@]}" from --pull-never "localhost/winnow-$1:check")
  containers+=("$container")
  root=$("${buildah[@]}" mount "$container")
  local packages torch cuda
  packages=$(cd "$root/opt/winnow"/lib/python3*/site-packages && printf '%s\n' *.dist-info)
  torch=$(sed -n 's/^torch-\(.*\).dist-info$/\1/p' <<<"$packages")
  cuda=$(grep -cE '^(nvidia_|cuda_)' <<<"${packages//nvidia_ml_py/}" || true)
  echo "$1 image: $(du -sm "$root" | cut -f1) MB, torch ${torch:-none}, CUDA packages $cuda, pip $(grep -c '^pip-' <<<"$packages" || true)"
}

specify() { # ROLE TMP_SIZE ARGUMENTS...: what runc is to start, hardened
  rm -f "$scratch/bundle/config.json"
  (cd "$scratch/bundle" && runc spec)
  python3 - "$scratch/bundle/config.json" "$root" "$scratch/bundle" "$port" "check:classify+ops:$digest" "$@" <<'PYTHON'
import json, sys
path, root, bundle, port, keys, role, tmp_size, *arguments = sys.argv[1:]
bind = lambda to, source, mode: {"destination": to, "type": "bind", "source": source, "options": ["bind", mode]}
spec = json.load(open(path))
spec["root"] = {"path": root, "readonly": True}
process = spec["process"]
process |= {"terminal": False, "user": {"uid": 10001, "gid": 10001}, "cwd": "/srv/winnow", "noNewPrivileges": True}
process["args"] = arguments
if role == "train":
    process["cwd"] = "/tmp"
process["env"] = [
    "PATH=/opt/winnow/bin:/usr/bin:/bin", "HOME=/tmp", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1",
    "BENTOML_HOME=/var/lib/winnow", "BENTOML_DO_NOT_TRACK=True", "BENTOML_HOST=127.0.0.1", f"BENTOML_PORT={port}",
    f"WINNOW_API_KEYS={keys}", "PYTHONPATH=/srv/winnow",
]
process["capabilities"] = {name: [] for name in ("bounding", "effective", "permitted")}
process.pop("rlimits", None)
spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] not in {"network", "cgroup"}]
spec["linux"].pop("resources", None)
spec["mounts"] = [m for m in spec["mounts"] if m["destination"] not in {"/sys/fs/cgroup", "/sys"}] + [
    {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["bind", "ro"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", f"size={tmp_size}"]},
]
# As on Kubernetes: training has the whole volume, serving its own home and the volume's models, read-only.
if role == "train":
    spec["mounts"] += [bind("/var/lib/winnow", f"{bundle}/volume", "rw")]
else:
    spec["mounts"] += [bind("/var/lib/winnow", f"{bundle}/home", "rw")]
    spec["mounts"] += [bind("/var/lib/winnow/models", f"{bundle}/volume/models", "ro")]
json.dump(spec, open(path, "w"))
PYTHON
}

train() {
  mounted train
  local program='winnow() { python -m training.cli "$@"; }; winnow demo-catalogue /tmp/demo --products "$1" && winnow train /tmp/demo'
  specify train 2g sh -ec "$program" sh "${N_PRODUCTS:-400}"
  local started=$SECONDS
  runc run --bundle "$scratch/bundle" "$id" >"$scratch/log" 2>&1 </dev/null || { tail -20 "$scratch/log"; exit 1; }
  echo "trained in $((SECONDS - started)) s: $(cat "$scratch/bundle/volume/models/winnow/current")"
}

serve() {
  mounted serve
  specify serve 64m bentoml serve service.app:Winnow --working-dir /srv/winnow
  local started
  started=$(date +%s%N)
  runc run --detach --bundle "$scratch/bundle" "$id" >"$scratch/log" 2>&1 </dev/null
  for _ in $(seq 600); do
    curl --silent --fail --output /dev/null "http://127.0.0.1:$port/readyz" && break
    sleep 0.1
  done || true
  echo "ready after $(( ($(date +%s%N) - started) / 1000000 )) ms"
}

try() {
  local call=(curl --silent --show-error --max-time 20 --header "authorization: Bearer $key")
  local example
  example=$("${call[@]}" "http://127.0.0.1:$port/openapi.json" | python3 -c '
import json, sys
body = json.load(sys.stdin)["paths"]["/classify"]["post"]["requestBody"]["content"]["application/json"]
print(json.dumps(body["example"]))') || { cat "$scratch/log"; exit 1; }
  "${call[@]}" --header "content-type: application/json" --data "$example" "http://127.0.0.1:$port/classify" | head -c 200; echo
  echo "without a key: $(curl --silent --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:$port/model")"
  echo "user $(runc exec "$id" id -u); writing to the root: $(runc exec "$id" sh -c 'touch /srv/x 2>&1 || true')"
  local pid
  pid=$(runc state "$id" | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
  echo "capabilities: $(grep CapEff "/proc/$pid/status" | cut -f2), no new privileges: $(grep NoNewPrivs "/proc/$pid/status" | cut -f2)"
  runc kill "$id" TERM
  for _ in $(seq 200); do [ -e "/proc/$pid" ] || break; sleep 0.1; done
  echo "stopped: $([ -e "/proc/$pid" ] && echo no || echo yes)"
}

base=${1:-localhost/python-base:bookworm}
"${buildah[@]}" inspect --type image "$base" >/dev/null 2>&1 || make_base "$base"
steps=${STEPS:-train serve run}
for target in train serve; do [[ $steps != *$target* ]] || build "$target"; done
[[ $steps == *run* ]] || exit 0
mkdir -p "$scratch/bundle/home/models" "$scratch/bundle/volume"
chown -R 10001:10001 "$scratch/bundle/home" "$scratch/bundle/volume"
train
runc delete --force "$id" >/dev/null 2>&1 || true
serve
try

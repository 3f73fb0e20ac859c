#!/usr/bin/env bash
# Build the serving image without a daemon and classify a product inside it, hardened: read-only root, no capabilities,
# no new privileges, a user without a name, and only BENTOML_HOME and /tmp writable. Prints what it measured.
#
#   BENTOML_HOME=… benchmarks/container.sh [BASE_IMAGE]
#
# Needs root, buildah, runc, curl, and a model store with a promoted bundle in $BENTOML_HOME.
# Without BASE_IMAGE it makes one of Debian's packages with mmdebstrap, so that no image registry is needed.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${PORT:-3917}
key=container-check
digest=$(printf %s "$key" | sha256sum | cut -d' ' -f1)
scratch=$(mktemp -d)
export STORAGE_DRIVER=vfs
storage=${STORAGE:-$scratch/storage} # kept, with its layers, where STORAGE names a folder
buildah=(buildah --root "$storage" --runroot "$scratch/run")
id="winnow-$$"

clean() {
  runc delete --force "$id" >/dev/null 2>&1 || true
  [ -n "${container:-}" ] && "${buildah[@]}" rm "$container" >/dev/null 2>&1 || true
  rm -rf "$scratch"
}
trap clean EXIT

base=${1:-}
if [ -z "$base" ]; then
  base=localhost/python-base:bookworm
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$scratch/base.tar"
  made=$("${buildah[@]}" from scratch)
  "${buildah[@]}" add --quiet "$made" "$scratch/base.tar" / >/dev/null
  "${buildah[@]}" commit --quiet --rm "$made" "$base" >/dev/null
fi

# How this machine's pip reaches its index, for the build alone; nothing of it stays in the image.
pip=(--env PIP_CERT=/etc/ssl/certs/ca-certificates.crt --volume /etc/ssl/certs:/etc/ssl/certs:ro)
[ -e /etc/pip.conf ] && pip+=(--volume /etc/pip.conf:/etc/pip.conf:ro)
"${buildah[@]}" bud --quiet --format docker --layers --isolation chroot --network host --pull-never "${pip[@]}" \
  --build-arg PYTHON_IMAGE="$base" --target serve --tag localhost/winnow:check . >/dev/null

container=$("${buildah[@]}" from --pull-never localhost/winnow:check)
root=$("${buildah[@]}" mount "$container")
echo "image: $(du -sm "$root" | cut -f1) MB, torch $(find "$root" -type d -name torch | wc -l), pip in the environment $(find "$root/opt/winnow" -type d -name pip | wc -l)"

mkdir -p "$scratch/bundle/home" && cp -r "${BENTOML_HOME:?names a model store with a promoted bundle}/models" "$scratch/bundle/models"
chown -R 10001:10001 "$scratch/bundle/home"
(cd "$scratch/bundle" && runc spec)
python3 - "$scratch/bundle/config.json" "$root" "$scratch/bundle" "$port" "check:classify+ops:$digest" <<'PYTHON'
import json, sys
path, root, bundle, port, keys = sys.argv[1:]
spec = json.load(open(path))
spec["root"] = {"path": root, "readonly": True}
process = spec["process"]
process |= {"terminal": False, "user": {"uid": 10001, "gid": 10001}, "cwd": "/srv/winnow", "noNewPrivileges": True}
process["args"] = ["bentoml", "serve", "service.app:Winnow", "--working-dir", "/srv/winnow"]
process["env"] = [
    "PATH=/opt/winnow/bin:/usr/bin:/bin", "HOME=/tmp", "PYTHONUNBUFFERED=1", "BENTOML_HOME=/var/lib/winnow",
    "BENTOML_DO_NOT_TRACK=True", "BENTOML_HOST=127.0.0.1", f"BENTOML_PORT={port}", f"WINNOW_API_KEYS={keys}",
]
process["capabilities"] = {name: [] for name in ("bounding", "effective", "permitted")}
process.pop("rlimits", None)
spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] not in {"network", "cgroup"}]
spec["linux"].pop("resources", None)
spec["mounts"] = [m for m in spec["mounts"] if m["destination"] not in {"/sys/fs/cgroup", "/sys"}] + [
    {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["bind", "ro"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "size=64m"]},
    {"destination": "/var/lib/winnow", "type": "bind", "source": f"{bundle}/home", "options": ["bind", "rw"]},
    {"destination": "/var/lib/winnow/models", "type": "bind", "source": f"{bundle}/models", "options": ["bind", "ro"]},
]
json.dump(spec, open(path, "w"))
PYTHON
mkdir -p "$scratch/bundle/home/models"
started=$(date +%s%N)
runc run --detach --bundle "$scratch/bundle" "$id" >"$scratch/log" 2>&1 </dev/null
for _ in $(seq 300); do
  curl --silent --fail --output /dev/null "http://127.0.0.1:$port/readyz" && break
  sleep 0.1
done || true
echo "ready after $(( ($(date +%s%N) - started) / 1000000 )) ms"
call=(curl --silent --show-error --max-time 20 --header "authorization: Bearer $key")
example=$("${call[@]}" "http://127.0.0.1:$port/openapi.json" | python3 -c '
import json, sys
body = json.load(sys.stdin)["paths"]["/classify"]["post"]["requestBody"]["content"]["application/json"]
print(json.dumps(body.get("example") or next(iter(body["examples"].values()))["value"]))') || { cat "$scratch/log"; exit 1; }
"${call[@]}" --header "content-type: application/json" --data "$example" "http://127.0.0.1:$port/classify" | head -c 300; echo
echo "without a key: $(curl --silent --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:$port/model")"
echo "user $(runc exec "$id" id -u); writing to the root: $(runc exec "$id" sh -c 'touch /srv/x 2>&1 || true')"
pid=$(runc state "$id" | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
echo "capabilities: $(grep CapEff "/proc/$pid/status" | cut -f2), no new privileges: $(grep NoNewPrivs "/proc/$pid/status" | cut -f2)"
runc kill "$id" TERM
for _ in $(seq 100); do [ -e "/proc/$pid" ] || break; sleep 0.1; done
echo "stopped: $([ -e "/proc/$pid" ] && echo no || echo yes)"

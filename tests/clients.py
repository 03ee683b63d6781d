"""Drives an engine through Python's `docker` package: arguments are its URL and an image archive."""

import sys
import time

import docker


def wait_until(what, probe, seconds=10):
    end = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < end, "waited in vain until " + what
        time.sleep(0.02)


client = docker.DockerClient(base_url=sys.argv[1])
api = client.api
assert client.ping()
assert "ApiVersion" in client.version()
assert client.info()["OSType"] == "linux"

# Images.
with open(sys.argv[2], "rb") as archive:
    loaded = client.images.load(archive.read())
assert "wordpress:4" in loaded[0].tags, loaded
image = client.images.get("busybox")
assert image.id.startswith("sha256:")
assert image.tag("copy", "v1")
assert "copy:v1" in client.images.get("copy:v1").tags
client.images.remove("copy:v1")
assert any("busybox:latest" in i.tags for i in client.images.list())
assert client.images.get("wordpress:4").history()
saved = b"".join(image.save(named=True))
assert len(saved) > 1_000_000
try:
    client.images.get("nosuch")
    raise SystemExit("an unknown image must be an error")
except docker.errors.ImageNotFound:
    pass

# One container after the other.
assert client.containers.run("busybox", "echo hi", remove=True) == b"hi\n"
assert client.containers.run("busybox", ["sh", "-c", "echo err >&2"], remove=True, stderr=True, stdout=False) == b"err\n"
try:
    client.containers.run("busybox", "sh -c 'exit 3'", remove=True)
    raise SystemExit("a status other than 0 must be an error")
except docker.errors.ContainerError as error:
    assert error.exit_status == 3
try:
    client.containers.run("busybox", "nosuch", remove=True)
    raise SystemExit("an unknown program must be an error")
except docker.errors.APIError as error:
    assert "executable file not found" in str(error), error

box = client.containers.run(
    "busybox",
    ["sh", "-c", "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done"],
    detach=True,
    name="pybox",
    environment={"A": "1"},
    labels={"made-by": "python"},
    hostname="pyhost",
    mem_limit="64m",
    pids_limit=100,
)
assert box.status == "created" or box.status == "running"
box.reload()
assert box.status == "running"
assert box.attrs["HostConfig"]["Memory"] == 64 << 20
assert [c.name for c in client.containers.list(filters={"label": "made-by=python"})] == ["pybox"]

# Logs.
wait_until("it ticked", lambda: b"tick 5" in box.logs())
assert box.logs(tail=1).startswith(b"tick")
stream = box.logs(stream=True, follow=True)
lines = [next(stream) for _ in range(3)]
assert b"tick 0" in b"".join(lines), lines
assert b"Z tick" in box.logs(timestamps=True, tail=2)

# Exec.
code, output = box.exec_run("sh -c 'echo $A; hostname; exit 5'")
assert (code, output) == (5, b"1\npyhost\n"), (code, output)
code, (out, err) = box.exec_run("sh -c 'echo out; echo err >&2'", demux=True)
assert (code, out, err) == (0, b"out\n", b"err\n")
code, output = box.exec_run("tty", tty=True)
assert output.startswith(b"/dev/pts/"), output
code, stream = box.exec_run("sh -c 'for i in 1 2 3; do echo $i; done'", stream=True)
assert b"".join(stream) == b"1\n2\n3\n"
exec_id = api.exec_create(box.id, "cat", stdin=True)["Id"]
sock = api.exec_start(exec_id, socket=True)
raw = getattr(sock, "_sock", sock)
raw.sendall(b"through the socket\n")
data = raw.recv(4096)
assert b"through the socket" in data, data
raw.close()
assert api.exec_inspect(exec_id)["ContainerID"] == box.id

# Attach.
stream = box.attach(stream=True, logs=True)
replayed = next(stream)
assert b"tick" in replayed, replayed

# State.
assert box.top()["Processes"]
box.pause()
box.reload()
assert box.status == "paused"
box.unpause()
box.rename("pybox2")
box.reload()
assert box.name == "pybox2"
box.restart(timeout=0)
box.reload()
assert box.status == "running"
box.kill()
assert box.wait()["StatusCode"] == 137
box.start()
box.stop(timeout=0)
box.reload()
assert box.status == "exited"
try:
    client.containers.create("busybox", name="pybox2")
    raise SystemExit("a name in use must be an error")
except docker.errors.APIError as error:
    assert error.response.status_code == 409, error

# Events.
since = int(time.time()) - 60
seen = [e["Action"] for e in client.events(since=since, until=int(time.time()) + 1, decode=True, filters={"container": box.id})]
for action in ("create", "start", "die", "kill", "pause", "unpause", "rename", "stop"):
    assert action in seen, (action, seen)

box.remove()
try:
    client.containers.get("pybox2")
    raise SystemExit("a removed container must be unknown")
except docker.errors.NotFound:
    pass
made = client.containers.create("busybox", "true")
assert made.id in client.containers.prune()["ContainersDeleted"]
print("all of it works")

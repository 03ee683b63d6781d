"""Drives an engine through Python's `docker` package: arguments are its URL and an image archive."""

import datetime
import io
import sys
import tarfile
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

sock = box.attach_socket(params={"stdout": 1, "stream": 1})
raw = getattr(sock, "_sock", sock)
assert b"tick" in raw.recv(4096)
raw.close()

# Logs by time.
first = box.logs(timestamps=True, tail=40).splitlines()[0].split(b" ")
at = datetime.datetime.fromisoformat(first[0].decode()[:19] + "+00:00").timestamp()
at = int(at)
assert first[1] + b" " + first[2] in box.logs(since=at)
assert box.logs(until=at - 3600) == b""
assert b"tick" in box.logs(since=at - 3600, until=at + 3600)

# Exec, all of it.
code, stream = box.exec_run("sh -c 'echo out; echo err >&2'", stream=True, demux=True)
parts = list(stream)
assert b"".join(out for out, _ in parts if out) == b"out\n", parts
assert b"".join(err for _, err in parts if err) == b"err\n", parts
code, output = box.exec_run("sh -c 'id -u; pwd; echo $B'", user="9", workdir="/tmp", environment={"B": "2"})
assert (code, output) == (0, b"9\n/tmp\n2\n"), (code, output)
exec_id = api.exec_create(box.id, "sleep 1000", tty=True)["Id"]
api.exec_start(exec_id, detach=True, tty=True)
wait_until("the exec runs", lambda: api.exec_inspect(exec_id)["Running"])
api.exec_resize(exec_id, height=20, width=70)
assert exec_id in api.inspect_container(box.id)["ExecIDs"]
assert box.exec_run("nosuch").exit_code == 127

# Statistics.
sample = box.stats(stream=False)
assert sample["memory_stats"]["limit"] == 64 << 20, sample
assert sample["cpu_stats"]["cpu_usage"]["total_usage"] >= sample["precpu_stats"]["cpu_usage"]["total_usage"] > 0
assert sample["pids_stats"]["current"] >= 1
assert "eth0" in sample["networks"], sample
samples = box.stats(stream=True, decode=True)
assert next(samples)["name"] == "/pybox" and next(samples)["preread"] > "0002"
samples.close()

# Files in and out.
packed = io.BytesIO()
with tarfile.open(fileobj=packed, mode="w") as archive:
    entry = tarfile.TarInfo("from-python")
    entry.size = 6
    archive.addfile(entry, io.BytesIO(b"hello\n"))
assert box.put_archive("/tmp", packed.getvalue())
assert box.exec_run("cat /tmp/from-python").output == b"hello\n"
pieces, stat = box.get_archive("/tmp/from-python")
assert (stat["name"], stat["size"]) == ("from-python", 6), stat
with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
    assert archive.extractfile("from-python").read() == b"hello\n"
try:
    box.get_archive("/nosuch")
    raise SystemExit("a missing file must be an error")
except docker.errors.NotFound:
    pass
assert {"Path": "/tmp/from-python", "Kind": 1} in box.diff()
assert len(b"".join(box.export())) > 1_000_000

# Limits.
assert box.update(mem_limit="96m", memswap_limit="192m", cpu_shares=300)["Warnings"] is None
box.reload()
assert (box.attrs["HostConfig"]["Memory"], box.attrs["HostConfig"]["CpuShares"]) == (96 << 20, 300)
box.update(restart_policy={"Name": "on-failure", "MaximumRetryCount": 2})
box.reload()
assert box.attrs["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
box.update(restart_policy={"Name": "no"})

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
# Volumes.
volume = client.volumes.create("pyvol", labels={"a": "b"})
assert volume.attrs["Labels"] == {"a": "b"} and volume.attrs["Mountpoint"].endswith("/volumes/pyvol/_data")
assert client.volumes.get("pyvol").id == "pyvol"
assert [v.name for v in client.volumes.list(filters={"label": "a=b"})] == ["pyvol"]
held = client.containers.create(
    "busybox", "sh -c 'echo kept > /x/file'", volumes={"pyvol": {"bind": "/x", "mode": "rw"}, "/tmp": {"bind": "/t", "mode": "ro"}}
)
assert {(m["Destination"], m["Type"], m["RW"]) for m in held.attrs["Mounts"]} == {("/x", "volume", True), ("/t", "bind", False)}
held.start()
assert held.wait()["StatusCode"] == 0
try:
    volume.remove()
    raise SystemExit("a volume in use must stay")
except docker.errors.APIError as error:
    assert error.response.status_code == 409 and "volume is in use" in str(error), error
assert client.containers.run("busybox", "cat /x/file", volumes_from=[held.id + ":ro"], remove=True) == b"kept\n"
mount = docker.types.Mount("/m", "pyvol", read_only=True)
assert client.containers.run("busybox", "cat /m/file", mounts=[mount], remove=True) == b"kept\n"
# The newest versions give totals unless asked for more.
df = docker.APIClient(base_url=sys.argv[1], version="1.44").df()
usage = {v["Name"]: v["UsageData"] for v in df["Volumes"]}
assert usage["pyvol"] == {"RefCount": 1, "Size": 5}, usage
held.remove(v=True)
assert client.volumes.get("pyvol").name == "pyvol", "what a person has named stays"
anonymous = client.volumes.create()
assert len(anonymous.name) == 64
assert anonymous.name in client.volumes.prune()["VolumesDeleted"]
volume.remove()
try:
    client.volumes.get("pyvol")
    raise SystemExit("a removed volume must be unknown")
except docker.errors.NotFound:
    pass

# What is waited for, and what ends.
waited = client.containers.run("busybox", "sh -c 'sleep 0.2; exit 4'", detach=True)
assert waited.wait(condition="next-exit")["StatusCode"] == 4
waited.remove()
made = client.containers.create("busybox", "true")
assert made.id in client.containers.prune()["ContainersDeleted"]
assert client.images.prune()["SpaceReclaimed"] >= 0
assert "NetworksDeleted" in client.networks.prune()
print("all of it works")

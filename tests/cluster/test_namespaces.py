"""Client and ppservers in network namespaces of their own: real mDNS, real links, no strangers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.conftest import Lab, address_of

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.netns,
    pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's"),
]

PATIENCE = 60.0


def last_words(program: subprocess.Popen[str]) -> dict[str, object]:
    """What a program printed as its last line, as JSON; it must have ended well."""
    output, _ = program.communicate("", timeout=PATIENCE)
    assert program.returncode == 0, output
    assert "Traceback" not in output, output
    answer: dict[str, object] = json.loads(output.splitlines()[-1])
    return answer


CLIENT = """
import json, sys, ppnext
address, key_file, link_goes = sys.argv[1:]
def work(number):
    import time
    time.sleep(0.03)  # a job of some length, so that the link goes in mid-run
    return number * number
server = ppnext.Server(0, ("*",), key_file=key_file, interfaces=[address], socket_timeout=1.5)
assert server.wait_for_nodes(3, 30), server.get_active_nodes()
nodes = sorted(node for node in server.get_active_nodes() if node != "local")
jobs = [server.submit(work, (number,)) for number in range(120)]
[job() for job in jobs[:40]]
if link_goes == "yes":
    print("running", flush=True)
    sys.stdin.readline()
results = [job() for job in jobs]
right = results == [number * number for number in range(120)]
stats = server.get_stats()
used = sorted(node for node, done in stats.items() if done.njobs)
lost = sum(done.lost for done in stats.values())
server.destroy()
print(json.dumps({"nodes": nodes, "right": right, "used": used, "lost": lost}))
"""


def test_three_ppservers_are_found_by_mdns_and_used(lab: Lab, key_file: Path) -> None:
    daemons = [lab.start_ppserver(machine) for machine in lab.machines]
    addresses = sorted(address_of(daemon) for daemon in daemons)
    told = last_words(lab.run("hub", CLIENT, lab.client, str(key_file), "no"))
    assert told == {"nodes": addresses, "right": True, "used": addresses, "lost": 0}
    for daemon in daemons:
        assert daemon.stop() == 0
        assert "not announced" not in daemon.log()


def test_a_link_that_goes_down_in_mid_run_loses_no_job(lab: Lab, key_file: Path) -> None:
    daemons = [lab.start_ppserver(machine, "-k", "1.5") for machine in lab.machines]
    for daemon in daemons:
        address_of(daemon)
    program = lab.run("hub", CLIENT, lab.client, str(key_file), "yes")
    assert program.stdout is not None
    assert program.stdin is not None
    line = program.stdout.readline()
    assert line == "running\n", line + program.communicate("", timeout=PATIENCE)[0]
    lab.unplug("b")
    program.stdin.write("down\n")
    program.stdin.flush()
    told = last_words(program)
    assert told["right"] is True  # of every job, once
    # The one that ran there, and what was on its way: more the further away a loaded node seems.
    assert told["lost"] >= 1
    # The other side notices as well, and its worker goes.
    daemons[1].wait_for_log("client gone: .*nothing was heard")


ROGUE = """
import asyncio, secrets, sys
from ppnext.runtime.discovery import advertise
async def main():
    kept = []
    for number, (host, port) in enumerate([("8.8.8.8", 60000), ("224.0.0.9", 60000),
                                           ("0.0.0.0", 60000), ("10.77.0.3", 22)]):
        kept.append(await advertise(f"ppnext-0000000{number}", port, [host],
                                    secrets.token_bytes(16), [sys.argv[1]]))
    print("announced", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""

WARY = """
import json, logging, sys, threading
address, key_file, expected = sys.argv[1], sys.argv[2], int(sys.argv[3])
tried = set()
def hook(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        tried.add(args[1][0])
sys.addaudithook(hook)
import ppnext
refused, enough = set(), threading.Event()
class Note(logging.Handler):
    def emit(self, record):
        line = record.getMessage()
        if line.startswith("not dialling"):
            refused.add(line)
            if len(refused) >= expected:
                enough.set()
logging.getLogger("ppnext").addHandler(Note())
logging.getLogger("ppnext").setLevel(logging.INFO)
with ppnext.Server(0, ("*",), key_file=key_file, interfaces=[address]) as server:
    assert server.wait_for_nodes(1, 30)
    assert enough.wait(30), refused
    value = server.submit(abs, (-7,))()
print(json.dumps({"tried": sorted(tried), "value": value, "refused": sorted(refused)}))
"""


def test_row_22_forged_addresses_are_not_dialled(lab: Lab, key_file: Path) -> None:
    daemon = lab.start_ppserver("a")
    address_of(daemon)
    rogue = lab.run("b", ROGUE, lab.machines["b"])
    assert rogue.stdout is not None
    line = rogue.stdout.readline()
    assert line == "announced\n", line
    told = last_words(lab.run("hub", WARY, lab.client, str(key_file), "4"))
    assert told["tried"] == [lab.machines["a"]]
    assert told["value"] == 7


GOODBYE = """
import asyncio, socket, struct, sys
from ppnext.runtime.discovery import SERVICE_TYPE, Browser
def labels(name):
    return b"".join(bytes([len(it)]) + it for it in name.rstrip(".").encode().split(b".")) + b"\\0"
async def main():
    found = asyncio.get_running_loop().create_future()
    def on_found(name, *rest):
        if not found.done():
            found.set_result(name)
    browser = Browser([sys.argv[1]], on_found, lambda name: None)
    await browser.start()
    name = await asyncio.wait_for(found, 30)
    await browser.close()
    data = labels(f"{name}.{SERVICE_TYPE}")
    record = labels(SERVICE_TYPE) + struct.pack("!HHIH", 12, 1, 0, len(data)) + data
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rogue:
        rogue.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        rogue.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
        rogue.bind((sys.argv[1], 5353))
        rogue.sendto(struct.pack("!6H", 0, 0x8400, 0, 1, 0, 0) + record, ("224.0.0.251", 5353))
    print("said goodbye for", name, flush=True)
asyncio.run(main())
"""

WITNESS = """
import asyncio, json, sys, threading, ppnext
from ppnext.runtime.discovery import Browser
from ppnext.runtime.loop import LoopThread
address, key_file = sys.argv[1:]
removed = threading.Event()
def hold():
    import sys, time
    time.sleep(4)  # a job that outlasts the forged goodbye and what follows from it
    return "held"
thread = LoopThread("witness")
browser = Browser([address], lambda *found: None, lambda name: removed.set())
asyncio.run_coroutine_threadsafe(browser.start(), thread.loop).result(30)
with ppnext.Server(0, ("*",), key_file=key_file, interfaces=[address]) as server:
    assert server.wait_for_nodes(1, 30)
    job = server.submit(hold)
    print("running", flush=True)
    assert removed.wait(30)
    assert not job.done()
    told = {"value": job(), "attempts": job.attempts, "nodes": len(server.get_active_nodes())}
asyncio.run_coroutine_threadsafe(browser.close(), thread.loop).result(30)
thread.stop()
print(json.dumps(told))
"""


def test_row_21_a_forged_goodbye_ends_no_session(lab: Lab, key_file: Path) -> None:
    daemon = lab.start_ppserver("a")
    address_of(daemon)
    program = lab.run("hub", WITNESS, lab.client, str(key_file))
    assert program.stdout is not None
    line = program.stdout.readline()
    assert line == "running\n", line + program.communicate("", timeout=PATIENCE)[0]
    rogue = lab.run("b", GOODBYE, lab.machines["b"])
    said, _ = rogue.communicate("", timeout=PATIENCE)
    assert rogue.returncode == 0, said
    told = last_words(program)
    assert told["value"] == "held"
    assert told["attempts"] == 1

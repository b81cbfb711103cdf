"""Stands simulated providers and a gateway up on loopback, runs both suites against them, and takes them down.

The suites learn the rest from the environment: PITON_URL, PITON_KEY (every chain), PITON_NARROW_KEY (one chain) and
PITON_REQUEST_LOG (the gateway's log).
"""

import http.server
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import faces

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "target" / "clients"
PITON = Path(os.environ.get("PITON_BIN", ROOT / "target" / "release" / "piton")).resolve()
START_SECONDS = 20
STOP_SECONDS = 40

# Each dialect with the path of its API at the simulated provider, and the dialect that its fallback speaks.
DIALECTS = {"openai": ("/v1", "anthropic"), "anthropic": ("/v1", "gemini"), "gemini": ("/v1beta", "openai")}

# What a chain is called, after its dialect, and the simulated model that is its only target.
CASES = {
    "chat": "mock-small",
    "reasoning": "mock-reasoning",
    "cut": "mock-words-40-cut",
    "status-400": "mock-status-400",
    "status-422": "mock-status-422",
    "status-429": "mock-status-429",
    "status-429-soon": "mock-status-429-retry-after-1",
    "status-429-late": "mock-status-429-retry-after-120",
    "status-500": "mock-status-500",
    "status-503": "mock-status-503",
    "auth": "mock-auth",
    "not-found": "mock-not-found",
    "context-length": "mock-context-length",
    "reset": "mock-reset",
}


def main():
    if not PITON.is_file():
        sys.exit(f"error: there is no {PITON}; build it with `cargo build --release`")
    failed = []
    with stand() as environment:
        for name, command, folder in suites():
            print(f"\n-- {name}", flush=True)
            if subprocess.run(command, cwd=folder, env=environment, check=False).returncode != 0:
                failed.append(name)
    if failed:
        sys.exit(f"error: failed: {', '.join(failed)}; the gateway's log is {HOME / 'piton.log'}")


def suites():
    python = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "."]
    yield "openai for Python", python, ROOT / "tests" / "clients" / "python"
    node = [
        "node",
        "--test",
        "--test-reporter=spec",
        *sorted(path.name for path in (HOME / "node").glob("*.test.mjs")),
    ]
    yield "openai for Node", node, HOME / "node"


@contextmanager
def stand():
    mock, gateway, played = free_port(), free_port(), HOME / "faces.json"
    environment = {
        **os.environ,
        "PITON_URL": f"http://127.0.0.1:{gateway}/v1",
        "PITON_KEY": secrets.token_hex(16),
        "PITON_NARROW_KEY": secrets.token_hex(16),
        "PITON_REQUEST_LOG": str(HOME / "piton.log"),
        "PITON_FACES": str(played),
        "PITON_MOCK": f"http://127.0.0.1:{mock}",
        "PITON_STATE_DIR": str(HOME / "state"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    # What the host has set for real providers must not reach the packages.
    for name in [name for name in environment if name.startswith("OPENAI_")]:
        del environment[name]
    config = HOME / "piton.toml"
    config.write_text(configuration(mock, gateway))
    played.write_text(json.dumps(faces.plain()))
    with (
        cloud_credentials(),
        running("mock", [PITON, "mock", "--listen", f"127.0.0.1:{mock}"], environment) as simulated,
        running("piton", [PITON, "serve", "--config", config], environment) as served,
    ):
        wait_until(simulated, "the simulated providers listen", lambda: connects(mock))
        wait_until(served, "the gateway is ready", lambda: is_ready(gateway))
        yield environment


def configuration(mock, gateway):
    lines = [
        "[server]",
        f'listen = "127.0.0.1:{gateway}"',
        'max_body = "1MiB"',
        'allow_direct = ["*"]',
        "",
        "# One attempt per target and no memory of failures: every test sees what it asks for.",
        "[defaults]",
        "retries = 0",
        "breaker = false",
        'first_token_timeout = "5s"',
        'idle_timeout = "5s"',
        "",
        "[[keys]]",
        'name = "all"',
        'secret = "env:PITON_KEY"',
        'direct = ["*"]',
        "",
        "[[keys]]",
        'name = "narrow"',
        'secret = "env:PITON_NARROW_KEY"',
        'chains = ["openai-chat"]',
    ]
    for dialect, (path, second) in DIALECTS.items():
        provider = f"sim-{dialect}"
        lines += [
            "",
            f"[providers.{provider}]",
            f'kind = "{dialect}"',
            f'base_url = "http://127.0.0.1:{mock}{path}"',
            # Any other credential of the same process would do: the simulated providers take every key.
            'api_key = "env:PITON_KEY"',
            "",
            f'[models."{provider}/mock-small"]',
            "price = { input = 1, output = 2 }",
            "",
            f"[chains.{dialect}-money]",
            f'targets = [{{ model = "{provider}/mock-small", max_cost = 0.000000001 }}]',
            "",
            f"[chains.{dialect}-deadline]",
            'deadline = "1s"',
            f'targets = ["{provider}/mock-hang"]',
            "",
            f"[chains.{dialect}-fallback]",
            f'targets = ["{provider}/mock-status-503", "sim-{second}/mock-small"]',
            "",
            f"[chains.{dialect}-unseen]",
            f'targets = ["{provider}/mock-cut-0", "sim-{second}/mock-small"]',
        ]
        for case, model in CASES.items():
            lines += ["", f"[chains.{dialect}-{case}]", f'targets = ["{provider}/{model}"]']
    for face in faces.FACES:
        lines += ["", *face.block(mock)]
    return "\n".join(lines) + "\n"


@contextmanager
def cloud_credentials():
    """Files as the clouds' own tools write them, and a server of tokens where Google's points to."""
    (HOME / "aws").write_text("[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = simulated\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        account = {
            "type": "authorized_user",
            "client_id": "simulated",
            "client_secret": "simulated",
            "refresh_token": "simulated",
            "token_uri": f"http://127.0.0.1:{server.server_port}/token",
        }
        (HOME / "google.json").write_text(json.dumps(account))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


class Tokens(http.server.BaseHTTPRequestHandler):
    """Gives a token to everyone."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        token = json.dumps({"access_token": "simulated", "expires_in": 3600, "token_type": "Bearer"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(token)))
        self.end_headers()
        self.wfile.write(token)

    def log_message(self, *_):
        pass


@contextmanager
def running(name, command, environment):
    with open(HOME / f"{name}.log", "wb") as log:
        process = subprocess.Popen(command, cwd=HOME, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    # The gateway must end by itself when asked to; how its simulated providers end is nobody's concern.
    if name == "piton" and process.returncode != 0:
        sys.exit(f"error: the gateway ended with {process.returncode}; its log is {HOME / 'piton.log'}")


def wait_until(process, what, holds):
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"error: it was not so that {what}; the logs are in {HOME}")
        time.sleep(0.05)


def connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as response:
            return response.status == 200
    except OSError:
        return False


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()

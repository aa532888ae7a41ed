"""A reporter (`report`) or grader (`grade`) that does its duty, or not, as BEHAVIOUR says."""

import json
import os
import sys
import time
import urllib.parse
import zipfile
from pathlib import Path

BEHAVIOUR = os.environ.get("BEHAVIOUR", "works")


def path_of(uri: str) -> Path:
    return Path(urllib.parse.unquote(urllib.parse.urlparse(uri).path))


if BEHAVIOUR == "crashes":
    print("no idea what happened", file=sys.stderr)
    sys.exit(6)
if BEHAVIOUR == "hangs":
    time.sleep(600)

if sys.argv[1] == "report":
    request = json.loads(os.environ["COGAME_REPORT_REQUEST"])
    episode = request["episodes"][0]
    results = json.loads(path_of(episode["artifacts"]["results"]["uri"]).read_text())
    replay = path_of(episode["artifacts"]["replay"]["uri"]).read_bytes()
    log = path_of(episode["artifacts"]["player_logs"]["0"]["uri"]).read_text()
    if BEHAVIOUR != "writes_nothing":
        with zipfile.ZipFile(path_of(request["report_uri"]), "w") as archive:
            archive.writestr("manifest.json", json.dumps({"reporter_id": "scripted", "render": "summary.html"}))
            script = "<script>alert(1)</script>" if BEHAVIOUR == "unsafe" else ""
            text = f"<p>{results['scores']} {len(replay)} {log}</p>{script}"
            archive.writestr("summary.html", text)
            if BEHAVIOUR == "escapes":
                archive.writestr("../../escaped.txt", "out")
            if BEHAVIOUR == "clashes":
                archive.writestr("data", "a file")
                archive.writestr("data/more", "in a file")
            if BEHAVIOUR == "redirects":
                archive.writestr("data/more", "out")
            if BEHAVIOUR == "damaged":
                archive.writestr("data", "x" * 100, zipfile.ZIP_STORED)
        target = path_of(request["report_uri"])
        if BEHAVIOUR == "damaged":
            target.write_bytes(target.read_bytes().replace(b"x" * 100, b"y" * 100))
        if BEHAVIOUR == "redirects":
            target.with_name("data").symlink_to(target.parent.parent.parent)
            target.with_name("summary.html").write_text("a draft")
        if BEHAVIOUR == "link":
            target.symlink_to(target.rename(target.with_name("real.zip")))
        if BEHAVIOUR == "pipe":
            target.unlink()
            os.mkfifo(target)
else:
    with zipfile.ZipFile(path_of(os.environ["COGAME_EPISODE_BUNDLE_URI"])) as bundle:
        manifest = json.loads(bundle.read("manifest.json"))
        scores = json.loads(bundle.read(manifest["files"]["results"]))["scores"]
    grades = {
        "works": {"grader_id": "scripted", "score": sum(scores)},
        "boolean": {"score": True},
        "text": {"score": "9"},
    }
    text = {"nan": '{"score": NaN}', "prose": "a fine game", "two": '{"score": 1}{"score": 2}'}
    if BEHAVIOUR != "writes_nothing":
        path_of(os.environ["COGAME_GRADE_URI"]).write_text(text.get(BEHAVIOUR) or json.dumps(grades[BEHAVIOUR]))

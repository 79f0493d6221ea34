"""What operators do to devices, where what is told of it could be wrong."""

from contextlib import closing
from pathlib import Path

from dpe_server.keys.at_rest import device_text
from dpe_server.operators import measures
from tests.audit import lines
from tests.server.web.api.held import made


def test_only_sessions_that_have_ended_are_noted_as_ended(tmp_path: Path) -> None:
    with made(tmp_path) as held, closing(held.opened.open_store()) as store:
        one, other = held.sessions[0].device, held.sessions[1].device
        assert measures.end(held.opened, store, [one], by="somebody") == 1
        assert measures.end(held.opened, store, [one]) == 0
        assert measures.end(held.opened, store, [one, bytes(16), other]) == 1
        noted = [(line["event"], line["device"], line["why"], line.get("by")) for line in lines(held.opened.audit_path)]
    assert noted == [
        ("session-ended", device_text(one), "operator", "somebody"),
        ("session-ended", device_text(other), "operator", None),
    ]

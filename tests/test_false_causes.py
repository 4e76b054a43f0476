"""What is no cause: code that runs again in a resumed session, and what was not recorded."""

from __future__ import annotations

import signal

import pytest
from stores import BOTH, new_place
from test_causes import in_both
from warm import script

# -- sessions that were killed and resumed


RESUMED = """
    import os, signal, sys
    import pandas as pd
    import tablevault_pd as tv
    vault = tv.connect({place!r}, session=False)
    def score(n):
        return [n, {rest}]
    def train(n):
        with vault.session(f"run-{{n}}", params={{"n": n}}, resume=True):
            vault.append("begun", {{"n": n}}, inputs=False)
            if "crash" in sys.argv:
                os.kill(os.getpid(), signal.SIGKILL)
            rows = pd.DataFrame({{"id": [1, 2], "pred": score(n)}})
            rows.vault.save("preds", key="id", inputs=False)
    train(int(sys.argv[1]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills processes")
@pytest.mark.parametrize("kind", BOTH)
def test_code_that_a_resumed_session_has_as_before_is_no_cause(tmp_path, kind):
    """Each attempt of a script begins with all that it defines: what the killed one executed is not there a second time."""
    with new_place(kind, tmp_path) as place, in_both(place) as vault:
        text = RESUMED.format(place=place.address, rest=0)
        for arguments in (["1"], ["2", "crash"], ["2", "crash"]):
            script(tmp_path, text, *arguments, fails="crash" in arguments)
        assert not vault.code_diff("run-1", "run-2")  # neither attempt came to its end
        script(tmp_path, text, "2")
        assert vault.sessions("run-2")["attempts"].tolist() == [3]
        why = vault.compare("preds@1", "preds@2", measure="pred").why()
        assert set(zip(why["what"], why["name"], strict=True)) == {("parameter", "n")}
        assert not vault.code_diff("run-1", "run-2")
        assert not vault.code_diff("preds@1", "preds@2")
        whole = vault.read("begun").query("n == 2").vault.code(whole=True)
        assert len(whole["text"]) == len(set(whole["text"])) > 5
        script(tmp_path, RESUMED.format(place=place.address, rest=5), "3", "crash", fails=True)
        script(tmp_path, text, "3")  # repaired: what counts is what ran last
        assert not vault.code_diff("run-1", "run-3")

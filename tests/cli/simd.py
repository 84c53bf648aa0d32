"""The same bytes at every instruction set level, from the whole program."""
import json
import os
from pathlib import Path

import harness

LEVELS = ("base", "avx2", "avx512", "neon")  # what the processor lacks falls back
MODELS = sorted(harness.MODELS.glob("*.safetensors"))


def at_level(level):
    return harness.environment(FILTERPRUNE_SIMD=level)


def without_timing(text):
    report = json.loads(text)
    report.pop("timing", None)
    return report


class Levels(harness.Case):
    def outputs(self, level, model):
        """All that the program writes of a model at one level, by name."""
        env = at_level(level)
        made = {}
        for name, options in {"default": [], "lossless": ["--lossless"], "half": ["--half", "--amount", "0.3"],
                              "dense": ["--dense", "--structure", "filter", "--criterion", "l2", "--amount", "0.2"],
                              "bfloat": ["--cast", "bf16", "--level", "12"], "rounded": ["--max-error", "0.02"],
                              "path": ["--max-error", "0.05", "--level", "12"]}.items():
            self.ok(model, "o.safetensors", "-q", "-f", "--report", "o", *options, env=env)
            made[name] = Path("o.safetensors").read_bytes()
            made[name + " report"] = without_timing(Path("o.report.json").read_text())
            if name != "dense":
                self.ok("unpack", "-f", "o.safetensors", "u.safetensors", "-q", env=env)
                made[name + " unpacked"] = Path("u.safetensors").read_bytes()
        made["inspect"] = without_timing(self.ok("inspect", "--json", model, env=env).out)
        made["compare"] = self.ok("compare", "--json", *MODELS[:2], env=env).out
        return made

    def test_the_same_bytes(self):
        self.small()
        for model in [os.path.join(self.home, "in.safetensors"), MODELS[0]]:
            want = self.outputs(None, model)
            for level in LEVELS:
                made = self.outputs(level, model)
                for name in want:
                    self.assertEqual(made[name], want[name], (level, name))

    def test_an_unknown_level_is_wrong_usage(self):
        self.small()
        for level in ("sse9", "AVX2", "", "avx2 "):
            self.assertIn("FILTERPRUNE_SIMD", self.fails(2, "in.safetensors", "o.safetensors", env=at_level(level)))
            self.fails(2, "info", "in.safetensors", env=at_level(level))
        self.assertEqual(self.listing(), ["in.safetensors"])

    def test_what_the_processor_lacks_is_said_when_asked(self):
        self.small()
        said = {level: self.ok("inspect", "-v", "in.safetensors", env=at_level(level)).err for level in LEVELS}
        self.assertIn("this processor has no", said["neon"] + said["avx2"])  # none has both
        for level in LEVELS:
            self.assertEqual(self.ok("inspect", "in.safetensors", env=at_level(level)).err, "")
        self.assertEqual(said["base"] if os.uname().machine == "x86_64" else "", "")


if __name__ == "__main__":
    harness.main()

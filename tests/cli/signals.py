"""An interrupt stops a job, removes what it began, and ends the program by that signal."""
import os
import signal
import subprocess
import time

import harness


class Signals(harness.Case):
    def setUp(self):
        super().setUp()
        harness.write_checkpoint("in.safetensors", {f"conv{i}.weight": harness.big_noise(8) for i in range(6)})
        self.bytes = open("in.safetensors", "rb").read()

    def start(self, *arguments, **more):
        return subprocess.Popen([harness.PROGRAM, "in.safetensors", "out.safetensors", "--level", "19", *arguments],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=harness.environment(), **more)

    def is_ready(self, process):
        """Whether the program has begun to handle signals; before, it has nothing to remove."""
        with open(f"/proc/{process.pid}/status") as status:
            caught = next(line for line in status if line.startswith("SigCgt:"))
        return int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1

    def has_written(self, process, megabytes=2):
        """OUTPUT has no name before it is complete: what was written is seen in the process."""
        with open(f"/proc/{process.pid}/io") as io:
            return int(next(line for line in io if line.startswith("wchar:")).split()[1]) > megabytes << 20

    def interrupt(self, process, number, writing):
        """Sends the signal as soon as it is handled, or once OUTPUT has begun. Whether the job was still running."""
        try:
            while process.poll() is None:
                if self.is_ready(process) and (not writing or self.has_written(process)):
                    break
                time.sleep(0.002)
        except (OSError, StopIteration):  # it ended between two looks
            pass
        running = process.poll() is None
        process.send_signal(number)
        return running

    def stops_cleanly(self, number, writing, *arguments):
        before = self.listing()
        process = self.start(*arguments)
        self.assertTrue(self.interrupt(process, number, writing), "the job was over too soon to interrupt")
        begin = time.monotonic()
        out, err = process.communicate(timeout=60)
        self.assertLess(time.monotonic() - begin, 10)
        self.assertEqual(process.returncode, -number, err)
        self.assertEqual((out, err), (b"", b"filterprune: in.safetensors: interrupted, nothing was written\n"))
        self.assertEqual(self.listing(), before)
        self.assertEqual(open("in.safetensors", "rb").read(), self.bytes)

    def test_early_and_while_writing(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for writing in (False, True):
                with self.subTest(number=number, writing=writing):
                    for name in set(os.listdir(".")) - {"in.safetensors"}:
                        os.remove(name)
                    self.stops_cleanly(number, writing)

    def test_the_old_output_stays(self):
        open("out.safetensors", "w").write("old")
        self.stops_cleanly(signal.SIGTERM, True, "--force")
        self.assertEqual(open("out.safetensors").read(), "old")

    def test_kill_leaves_input_and_no_output(self):
        process = self.start()
        self.interrupt(process, signal.SIGKILL, True)
        process.communicate(timeout=60)
        self.assertEqual(open("in.safetensors", "rb").read(), self.bytes)
        self.assertNotIn("out.safetensors", os.listdir("."))

    def test_what_is_ignored_stays_ignored(self):
        # As under nohup, or in the background of a script.
        harness.write_checkpoint("in.safetensors", {"conv.weight": harness.big_noise(8)})

        def ignore():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

        process = self.start(preexec_fn=ignore)
        self.interrupt(process, signal.SIGHUP, False)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        self.assertIn("out.safetensors", os.listdir("."))


if __name__ == "__main__":
    harness.main()

"""An interrupt stops a job, removes what it began, and ends the program by that signal."""
import os
import signal
import subprocess
import time

import harness


class Signals(harness.Case):
    def setUp(self):
        super().setUp()
        harness.write_checkpoint("in.safetensors", {f"conv{i}.weight": harness.big_noise(16) for i in range(8)})
        self.bytes = open("in.safetensors", "rb").read()

    def start(self, *arguments, **more):
        return subprocess.Popen([harness.PROGRAM, "in.safetensors", "out.safetensors", "--level", "19", *arguments],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=harness.environment(), **more)

    def interrupt(self, process, number, until):
        """Sends the signal when until() holds. Whether the job was still running."""
        for _ in range(3000):
            if until() or process.poll() is not None:
                break
            time.sleep(0.002)
        running = process.poll() is None
        process.send_signal(number)
        return running

    def stops_cleanly(self, number, until, *arguments):
        before = self.listing()
        process = self.start(*arguments)
        self.assertTrue(self.interrupt(process, number, until), "the job was over too soon to interrupt")
        begin = time.monotonic()
        out, err = process.communicate(timeout=60)
        self.assertLess(time.monotonic() - begin, 10)
        self.assertEqual(process.returncode, -number, err)
        self.assertEqual((out, err), (b"", b"filterprune: in.safetensors: interrupted, nothing was written\n"))
        self.assertEqual(self.listing(), before)
        self.assertEqual(open("in.safetensors", "rb").read(), self.bytes)

    def test_early_and_while_writing(self):
        def writing():
            return any(name not in ("in.safetensors", "out.safetensors") for name in os.listdir("."))

        began = []

        def early():
            began.append(None)
            return len(began) > 20

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for until in (early, writing):
                with self.subTest(number=number, until=until.__name__):
                    began.clear()
                    self.stops_cleanly(number, until)

    def test_the_old_output_stays(self):
        open("out.safetensors", "w").write("old")
        self.stops_cleanly(signal.SIGTERM, lambda: len(os.listdir(".")) > 2, "--force")
        self.assertEqual(open("out.safetensors").read(), "old")

    def test_kill_leaves_input_and_no_output(self):
        process = self.start()
        self.interrupt(process, signal.SIGKILL, lambda: len(os.listdir(".")) > 1)
        process.communicate(timeout=60)
        self.assertEqual(open("in.safetensors", "rb").read(), self.bytes)
        self.assertNotIn("out.safetensors", os.listdir("."))

    def test_what_is_ignored_stays_ignored(self):
        # As under nohup, or in the background of a script.
        harness.write_checkpoint("in.safetensors", {"conv.weight": harness.big_noise(8)})

        def ignore():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

        process = self.start(preexec_fn=ignore)
        self.interrupt(process, signal.SIGHUP, lambda: True)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        self.assertIn("out.safetensors", os.listdir("."))


if __name__ == "__main__":
    harness.main()

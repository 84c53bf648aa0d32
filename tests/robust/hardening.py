"""The release program is hardened: position-independent, all relocations done and read-only before it begins, no
executable stack, stack protector, fortified calls."""
import shutil
import subprocess
import sys

import common
from common import check

if not shutil.which("readelf") or common.is_sanitized():
    print("no readelf, or a sanitizer's build")
    sys.exit(common.SKIPPED)
text = subprocess.run(["readelf", "-W", "-h", "-l", "-d", "--dyn-syms", common.PROGRAM], stdout=subprocess.PIPE, text=True,
                      check=True).stdout
check("Position-Independent Executable" in text, "the program is not position-independent")
check("GNU_RELRO" in text and "BIND_NOW" in text, "relocations are not read-only")
check(any("GNU_STACK" in line and " RW " in line for line in text.splitlines()), "the stack may be executed")
check("__stack_chk_fail" in text, "there is no stack protector")
check("__memcpy_chk" in text or "__snprintf_chk" in text, "library calls are not fortified")
common.finish("hardened")

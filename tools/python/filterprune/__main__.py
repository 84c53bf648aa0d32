"""python -m filterprune unpack PACKED OUTPUT: restores a dense checkpoint without the program."""
import argparse
import sys

from . import SafetensorError, __version__, unpack


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m filterprune", description="Reads what filterprune packs.")
    parser.add_argument("--version", action="version", version=f"filterprune {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("unpack", help="restore a dense checkpoint",
                                  description="Restores a dense checkpoint, byte for byte the input of a lossless run.")
    command.add_argument("packed", metavar="PACKED", help="a packed file, or a *.safetensors.index.json")
    command.add_argument("output", metavar="OUTPUT", help="the file to write, or the directory for shards")
    command.add_argument("-f", "--force", action="store_true", help="overwrite OUTPUT")
    command.add_argument("--decoder", choices=("python", "library", "auto"), default="python",
                         help="what decodes (default: python, without any C of this project)")
    arguments = parser.parse_args()
    try:
        unpack(arguments.packed, arguments.output, arguments.force, decoder=arguments.decoder)
    except FileExistsError as error:
        print(f"filterprune: {error.filename}: {error.strerror}", file=sys.stderr)
        return 4
    except SafetensorError as error:
        print(f"filterprune: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"filterprune: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

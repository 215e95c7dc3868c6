#!/usr/bin/env python
"""Django's command line. `manage.py up` first writes the settings file that a fresh clone lacks."""

import os
import sys


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "up":
        from waule.bootstrap import write_env_file_once

        write_env_file_once()
    if sys.argv[1:2] in (["serve"], ["worker"]):
        from waule.core.metrics_directory import share

        share()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()

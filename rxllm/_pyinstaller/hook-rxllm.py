"""Read by PyInstaller: the tables of vendors and models, the chat page, and the metadata with the version."""

from PyInstaller.utils.hooks import collect_data_files, copy_metadata

datas = collect_data_files("rxllm") + copy_metadata("rxllm")

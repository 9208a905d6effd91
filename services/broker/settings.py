"""The settings of the local broker."""

from __future__ import annotations

from pathlib import Path

from services.runtime.settings import Settings, setting


class BrokerSettings(Settings):
    """Where the local broker listens, where it keeps its data and how much memory it takes."""

    broker_port: int = setting(
        9092, "Port of the local broker on 127.0.0.1; 0 takes a free one.", unit="port", ge=0, le=65535
    )
    broker_data_dir: Path = setting(
        Path("~/.local/share/streamrec/broker"), "Folder of the local broker's data and log file; survives restarts."
    )
    broker_heap_mb: int = setting(512, "Java heap of the local broker.", unit="MB", ge=192)
    broker_start_timeout_s: int = setting(60, "Longest wait for the local broker to answer.", unit="s", ge=1)
    broker_stop_timeout_s: int = setting(
        20, "Longest wait for the local broker to stop before it is killed.", unit="s", ge=1
    )
    broker_java_options: str = setting("", "Further options of the local broker's Java, separated by spaces.")

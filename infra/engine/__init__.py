"""The processing engine: stages with tables, exactly once, on confluent-kafka. See ``docs/engine.md``."""

from infra.engine.config import EngineConfig, SinkConfig
from infra.engine.connector import run_sink
from infra.engine.errors import WorkerFailed
from infra.engine.sink import Sink, Written
from infra.engine.worker import run_stage

__all__ = ["EngineConfig", "Sink", "SinkConfig", "WorkerFailed", "Written", "run_sink", "run_stage"]

"""The contract of the hub: Avro schemas, the types behind them, and the table of topics. No I/O."""

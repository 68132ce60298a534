-- What the HTTP API looks verdicts up by, each in the order of its pages.
CREATE INDEX verdict_tx ON verdict (tx_id);
CREATE INDEX verdict_anomaly_time ON verdict (event_time DESC, verdict_id DESC) WHERE is_anomaly;

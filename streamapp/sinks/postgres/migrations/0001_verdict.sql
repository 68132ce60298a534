-- One row for every verdict_id. verdict_exact is set only where PostgreSQL cannot hold the verdict
-- as published (it rejects U+0000): then it holds the published bytes, and text columns and
-- verdict hold U+FFFD in place of U+0000.
CREATE TABLE verdict (
    verdict_id         text PRIMARY KEY,
    tx_id              text NOT NULL,
    user_id            text NOT NULL,
    event_time         timestamptz NOT NULL,
    amount             double precision NOT NULL,
    merchant_id        text,
    risk_score         double precision NOT NULL,
    severity           text NOT NULL CHECK (severity IN ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    is_anomaly         boolean NOT NULL,
    recommended_action text NOT NULL,
    mode               text NOT NULL,
    duplicate_of       text,
    source_topic       text NOT NULL,
    source_partition   integer NOT NULL,
    source_offset      bigint NOT NULL,
    verdict            jsonb NOT NULL,
    verdict_exact      bytea
);

CREATE INDEX verdict_user_time ON verdict (user_id, event_time DESC);
CREATE INDEX verdict_severity_time ON verdict (severity, event_time DESC);

"""Messages to decode: a good one, and its fields as raw JSON so that any text can stand in."""

GOOD: dict[str, str] = {
    "tx_id": '"t1"',
    "user_id": '"ann"',
    "amount": "12.5",
    "timestamp": "1770033600000",
    "currency": '"EUR"',
    "merchant_id": '"m1"',
    "country": '"BE"',
    "latitude": "50.85",
    "longitude": "4.35",
    "account_age_days": "12",
    "device_risk_score": "0.25",
}
KEY = b"ann"


def message(**raw: str | None) -> bytes:
    """The good message with fields replaced by raw JSON; None leaves a field out."""
    fields = {name: text for name, text in {**GOOD, **raw}.items() if text is not None}
    return ("{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}").encode()

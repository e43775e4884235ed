"""Arguments, not arithmetic: which recorded change caused a spike, and who owns what."""

"""The channels that messages go to: Slack, a webhook, Amazon SNS, email, standard output."""

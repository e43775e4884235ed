"""Watch: find what is new about spikes and send it to the teams that own them."""

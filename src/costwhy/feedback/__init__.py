"""What owners say of spikes and plan before them, and what their fixes saved."""

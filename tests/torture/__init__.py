"""Tests that hurt: interrupts, kills, forks and full disks, at many random moments. See harness.py for what they share."""

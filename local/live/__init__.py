"""The live page of `ugc-up`: what the processes do now and did in the last minutes, without Prometheus or Grafana."""

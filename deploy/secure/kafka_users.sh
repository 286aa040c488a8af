#!/bin/bash
# Creates the users of Kafka and their access control entries in docker-compose.yml's profile `secure`. It runs in Kafka's
# image, and is safe to repeat. docs/operating/permissions.md lists the entries and what each is for.
set -eu

secrets=/run/secrets
server=(--bootstrap-server secure-kafka:9094)
administrator=/etc/ugc/kafka_admin.properties

for user in ugc-ingest ugc-etl ugc-migrate; do
  /opt/kafka/bin/kafka-configs.sh "${server[@]}" --command-config $administrator --alter --entity-type users \
    --entity-name $user --add-config-file $secrets/$user.properties
done

allow() {
  /opt/kafka/bin/kafka-acls.sh "${server[@]}" --command-config $administrator --add --allow-principal "User:$1" "${@:2}"
}

allow ugc-ingest --operation Write --operation DescribeConfigs --topic ugc.events
allow ugc-etl --operation Read --topic ugc.events --group ugc-etl
allow ugc-migrate --operation Create --operation Describe --operation DescribeConfigs --topic ugc.events

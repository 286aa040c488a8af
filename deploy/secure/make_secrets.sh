#!/bin/sh
# Makes what docker-compose.yml's profile `secure` needs in a folder, by default `secrets`: an authority, a certificate for
# each server and client, and random passwords. It needs openssl. A repeated run keeps keys and passwords, and renews the
# certificates that end within 30 days: docs/operating/permissions.md.
set -eu

folder=${1:-secrets}
authority_days=730
certificate_days=90
renewal_days=30
seconds_a_day=86400

# Only the owner may enter the folder. In it, everybody may read the files: the containers run as several users.
umask 022
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

# write FILE COMMAND: writes what the command prints to a file, whole or not at all.
write() {
  file=$1
  shift
  "$@" > "$file.new"
  mv "$file.new" "$file"
}

new_key() {
  write "$1" openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256
}

is_valid_for() {
  openssl x509 -in "$1" -noout -checkend $(($2 * seconds_a_day)) > /dev/null 2>&1
}

make_authority() {
  mkdir -p authority
  chmod 700 authority
  if [ ! -s authority/ca.pem ]; then
    new_key authority/ca.key
    write authority/ca.pem openssl req -x509 -new -key authority/ca.key -days $authority_days \
      -subj '/CN=ugc-events secure authority' -addext 'keyUsage=critical,keyCertSign,cRLSign'
  fi
  # The certificates that it issues must not outlive it.
  if ! is_valid_for authority/ca.pem $certificate_days; then
    echo "the authority in $folder/authority ends within $certificate_days days: remove $folder/authority, run this" \
      "again, and restart all services of the profile" >&2
    exit 1
  fi
}

# make_certificate FOLDER NAME [HOST]: tls.key and tls.pem, for a server if it has a host.
make_certificate() {
  if [ ! -s "$1/tls.key" ]; then
    new_key "$1/tls.key"
    rm -f "$1/tls.pem"
  fi
  if ! { openssl verify -CAfile authority/ca.pem "$1/tls.pem" && is_valid_for "$1/tls.pem" $renewal_days; } > /dev/null 2>&1; then
    {
      printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n'
      printf 'extendedKeyUsage=serverAuth,clientAuth\n'
      if [ $# -gt 2 ]; then printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1,IP:::1\n' "$3"; fi
    } > authority/extensions
    openssl req -new -key "$1/tls.key" -subj "/CN=$2" > authority/request
    write "$1/tls.pem" openssl x509 -req -in authority/request -CA authority/ca.pem -CAkey authority/ca.key \
      -set_serial "0x$(openssl rand -hex 16)" -days $certificate_days -extfile authority/extensions 2> authority/messages
    rm authority/extensions authority/request authority/messages
  fi
}

make_password() {
  if [ ! -s "$1" ]; then write "$1" openssl rand -hex 24; fi
}

digest() {
  tr -d '\n' < "$1" | openssl dgst -sha256 -r | cut -d ' ' -f 1
}

make_authority
for service in kafka kafka-users clickhouse clickhouse-users migrate ingest gateway etl client; do
  mkdir -p $service
  write $service/ca.pem cat authority/ca.pem
done

make_certificate kafka kafka secure-kafka
make_certificate kafka-users kafka-admin
make_certificate clickhouse clickhouse secure-clickhouse
make_certificate ingest ingest secure-ingest
make_certificate gateway gateway secure-gateway
make_certificate client client
# Kafka reads the key and the certificate from one file.
for service in kafka kafka-users; do write $service/keystore.pem cat $service/tls.key $service/tls.pem; done

for service in ingest etl migrate; do
  make_password $service/kafka-password
  # What Kafka's own tool reads, so that the password is not in its command line.
  write kafka-users/ugc-$service.properties \
    printf 'SCRAM-SHA-512=iterations=8192,password=%s\n' "$(cat $service/kafka-password)"
done

for service in etl migrate; do make_password $service/clickhouse-password; done
make_password client/clickhouse-password
make_password clickhouse-users/password

write clickhouse-users/users.sql cat <<END
CREATE USER OR REPLACE migrate IDENTIFIED WITH sha256_hash BY '$(digest migrate/clickhouse-password)' DEFAULT ROLE ugc_migrate;
CREATE USER OR REPLACE etl IDENTIFIED WITH sha256_hash BY '$(digest etl/clickhouse-password)' DEFAULT ROLE ugc_etl;
CREATE USER OR REPLACE reader IDENTIFIED WITH sha256_hash BY '$(digest client/clickhouse-password)' DEFAULT ROLE ugc_reader;
END

write clickhouse/users.xml cat <<END
<!-- Written by deploy/secure/make_secrets.sh. The administrator makes the other users, by SQL. -->
<clickhouse>
    <users>
        <default remove="remove"/>
        <admin>
            <password_sha256_hex>$(digest clickhouse-users/password)</password_sha256_hex>
            <networks><ip>::/0</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <access_management>1</access_management>
        </admin>
    </users>
</clickhouse>
END

write clickhouse-users/client.xml cat <<END
<config>
    <host>secure-clickhouse</host>
    <port>9440</port>
    <secure>1</secure>
    <user>admin</user>
    <password>$(cat clickhouse-users/password)</password>
    <openSSL>
        <client>
            <loadDefaultCAFile>false</loadDefaultCAFile>
            <caConfig>/run/secrets/ca.pem</caConfig>
            <verificationMode>strict</verificationMode>
            <invalidCertificateHandler><name>RejectCertificateHandler</name></invalidCertificateHandler>
        </client>
    </openSSL>
</config>
END

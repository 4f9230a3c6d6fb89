import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;

/** Client properties that every command shares: addresses, names, TLS and SASL. */
final class Settings {
    private Settings() {}

    static Properties common(Options options) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", options.text("bootstrap"));
        properties.put("client.id", options.text("client-id", options.text("member", "java")));
        boolean tls = options.has("tls-ca");
        boolean sasl = options.has("sasl-mechanism");
        properties.put("security.protocol", sasl ? (tls ? "SASL_SSL" : "SASL_PLAINTEXT") : (tls ? "SSL" : "PLAINTEXT"));
        if (tls) {
            properties.put("ssl.truststore.type", "PEM");
            properties.put("ssl.truststore.certificates", file(options.text("tls-ca")));
        }
        if (options.has("tls-cert")) {
            properties.put("ssl.keystore.type", "PEM");
            properties.put("ssl.keystore.certificate.chain", file(options.text("tls-cert")));
            properties.put("ssl.keystore.key", file(options.text("tls-key")));
        }
        if (sasl) {
            String mechanism = options.text("sasl-mechanism");
            String module = mechanism.equals("PLAIN") ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
            properties.put("sasl.mechanism", mechanism);
            properties.put("sasl.jaas.config", "org.apache.kafka.common.security." + module
                    + " required username=\"" + options.text("username")
                    + "\" password=\"" + options.text("password") + "\";");
        }
        return chosen(options, properties);
    }

    /** What the command line sets wins over what this program sets. */
    private static Properties chosen(Options options, Properties properties) {
        for (String property : options.all("property")) {
            int equals = property.indexOf('=');
            properties.put(property.substring(0, equals), property.substring(equals + 1));
        }
        return properties;
    }

    static Properties producer(Options options) {
        Properties properties = common(options);
        String bytes = "org.apache.kafka.common.serialization.ByteArraySerializer";
        properties.put("key.serializer", bytes);
        properties.put("value.serializer", bytes);
        properties.put("acks", options.text("acks", "all"));
        properties.put("compression.type", options.text("compression", "none"));
        properties.put("enable.idempotence",
                String.valueOf(options.has("idempotent") || options.has("transactional-id")));
        if (options.has("transactional-id")) {
            properties.put("transactional.id", options.text("transactional-id"));
        }
        return chosen(options, properties);
    }

    static Properties consumer(Options options) {
        Properties properties = common(options);
        String bytes = "org.apache.kafka.common.serialization.ByteArrayDeserializer";
        properties.put("key.deserializer", bytes);
        properties.put("value.deserializer", bytes);
        properties.put("group.id", options.text("group"));
        return chosen(options, properties);
    }

    static Properties groupConsumer(Options options) {
        Properties properties = consumer(options);
        properties.put("auto.offset.reset", "earliest");
        if (options.has("defaults")) {
            return chosen(options, properties);
        }
        properties.put("enable.auto.commit", String.valueOf(options.text("commit", "sync").equals("auto")));
        properties.put("auto.commit.interval.ms", "500");
        properties.put("isolation.level", options.text("isolation", "read_uncommitted"));
        if (options.text("group-protocol", "classic").equals("consumer")) {
            // The broker owns the session timeout of this protocol; a client that sets it is refused.
            properties.put("group.protocol", "consumer");
        } else {
            long session = options.number("session-timeout-ms", 10_000);
            properties.put("session.timeout.ms", String.valueOf(session));
            properties.put("heartbeat.interval.ms", String.valueOf(Math.max(session / 10, 50)));
        }
        return chosen(options, properties);
    }

    private static String file(String path) {
        try {
            return Files.readString(Path.of(path));
        } catch (IOException e) {
            throw new IllegalArgumentException("cannot read " + path, e);
        }
    }
}

import java.util.List;

/** Kafka's own Java clients as a test program; tests/clients/README.md describes commands and output. */
final class Main {
    /** A command that is looked up by name, because not every client version can compile it. */
    interface Command {
        void run(Options options);
    }

    private Main() {}

    public static void main(String[] args) throws Exception {
        Options options = new Options(List.of(args));
        try {
            run(options);
        } catch (Exception | LinkageError error) {
            Out.error(options.command, error);
            System.exit(1);
        }
        System.exit(0);
    }

    private static void run(Options options) throws Exception {
        switch (options.command) {
            case "produce" -> new Produce(options).run();
            case "consume" -> {
                if (options.has("share")) {
                    named("Share").run(options);
                } else {
                    new Consume(options).run();
                }
            }
            case "walk" -> new Walk(options).run();
            case "transfer" -> new Transfer(options).run();
            case "pipe" -> new Pipe(options).run();
            case "admin" -> new Administer(options).run();
            case "decode" -> named("Decode").run(options);
            default -> throw new IllegalArgumentException("unknown command " + options.command);
        }
    }

    private static Command named(String name) throws ReflectiveOperationException {
        return (Command) Class.forName(name).getDeclaredConstructor().newInstance();
    }
}

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The command line: one word that names the command, then flags with or without a value. */
final class Options {
    private final Map<String, List<String>> values = new HashMap<>();
    final String command;

    Options(List<String> args) {
        command = args.isEmpty() ? "" : args.get(0);
        for (int i = 1; i < args.size(); i++) {
            String flag = args.get(i);
            if (!flag.startsWith("--")) {
                throw new IllegalArgumentException("unexpected argument " + flag);
            }
            boolean hasValue = i + 1 < args.size() && !args.get(i + 1).startsWith("--");
            values.computeIfAbsent(flag.substring(2), unused -> new ArrayList<>())
                    .add(hasValue ? args.get(++i) : "true");
        }
    }

    boolean has(String name) {
        return values.containsKey(name);
    }

    String text(String name) {
        if (!has(name)) {
            throw new IllegalArgumentException("--" + name + " is missing");
        }
        return values.get(name).get(0);
    }

    String text(String name, String otherwise) {
        return has(name) ? values.get(name).get(0) : otherwise;
    }

    List<String> all(String name) {
        return values.getOrDefault(name, List.of());
    }

    long number(String name, long otherwise) {
        return has(name) ? Long.parseLong(text(name)) : otherwise;
    }
}

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;

/** Watches standard input for the word that asks a consumer to leave its group. */
final class Stdin {
    private volatile boolean leave;

    Stdin() {
        Thread reader = new Thread(this::read, "stdin");
        reader.setDaemon(true);
        reader.start();
    }

    boolean leave() {
        return leave;
    }

    private void read() {
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(System.in))) {
            String line = lines.readLine();
            while (line != null && !line.trim().equals("leave")) {
                line = lines.readLine();
            }
        } catch (IOException e) {
            Out.error("stdin", e);
        }
        // The end of the input counts as the word: whoever started us is gone.
        leave = true;
    }
}

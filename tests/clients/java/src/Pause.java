/** The pace of a producer that was asked to be slow. */
final class Pause {
    private Pause() {}

    static void milliseconds(long duration) {
        try {
            Thread.sleep(duration);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}

//! Spans of what a sidecar does beside the traffic, where `otlp.diagnostics` asks for them: requests to the admin listener, looks
//! for a broker, reloads. Log lines said meanwhile are their events.
//!
//! They leave by the queue of the traffic's own spans, and are dropped and counted with them. Must not be used on the dataplane.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::{Context, trace::TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use tracing::{Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    filter::{FilterExt, filter_fn},
    registry::LookupSpan,
};

use crate::{export::otlp::Queue, span::Sink};

/// What stands in the spans as their instrumentation scope.
const SCOPE: &str = "throughline.diagnostics";

/// Makes the spans, and holds the way out once there is one.
#[derive(Debug, Clone)]
pub(crate) struct Diagnostics {
    tracer: SdkTracer,
    exit: Exit,
}

/// Where finished spans go; what ends before it is open, or after, is dropped.
#[derive(Debug, Clone, Default)]
struct Exit(Arc<Mutex<Option<Queue>>>);

impl Exit {
    fn set(&self, queue: Option<Queue>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = queue;
    }
}

impl SpanProcessor for Exit {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queue.as_mut() {
            queue.span(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Diagnostics {
    pub(crate) fn new() -> Self {
        let exit = Exit::default();
        let provider = SdkTracerProvider::builder().with_span_processor(exit.clone());
        Self {
            tracer: provider.build().tracer(SCOPE),
            exit,
        }
    }

    /// From now on spans leave.
    pub(crate) fn open(&self, queue: Queue) {
        self.exit.set(Some(queue));
    }

    /// Nothing leaves any more, and nobody waits for what could.
    pub(crate) fn close(&self) {
        self.exit.set(None);
    }

    /// Takes the spans of this program, and what it logs within them; nothing of the libraries, which trace the export itself.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + Send + Sync + for<'span> LookupSpan<'span>,
    {
        let ours = filter_fn(|of: &Metadata<'_>| of.target().starts_with("throughline"));
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.clone())
            .with_filter(ours.and(LevelFilter::DEBUG))
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn spans_of_ours_and_their_log_lines_leave_while_the_way_is_open() {
        let diagnostics = Diagnostics::new();
        let (queue, mut spans) = Queue::for_test(8);
        let registry = tracing_subscriber::registry().with(diagnostics.layer());
        tracing::subscriber::with_default(registry, || {
            tracing::debug_span!("too early").in_scope(|| ());
            diagnostics.open(queue);
            tracing::debug_span!("ours", server.port = 7).in_scope(|| tracing::info!("said"));
            tracing::debug_span!(target: "h2", "theirs").in_scope(|| ());
            diagnostics.close();
            tracing::debug_span!("too late").in_scope(|| ());
        });
        let span = spans.try_recv().unwrap();
        assert_eq!((span.name.as_ref(), span.events.len()), ("ours", 1));
        assert_eq!(span.instrumentation_scope.name(), SCOPE);
        assert!(spans.try_recv().is_err(), "and nobody holds the queue");
    }
}

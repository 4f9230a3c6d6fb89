// What a dashboard file may hold, in Grafana's own types.
//
// The files are JSON, which has no enumerations: Plain<T> asks for the words and numbers that the enumerations stand for. What Grafana's
// Prometheus and Loki plugins read beside the schema (queries, texts of annotations) is written down here.
import type { AnnotationQuery, Dashboard, DataQuery, DataSourceRef, FieldConfigSource, Panel, RowPanel, VariableModel } from "@grafana/schema";
import type * as Heatmap from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as Logs from "@grafana/schema/dist/esm/raw/composable/logs/panelcfg/x/LogsPanelCfg_types.gen";
import type * as Stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as StateTimeline from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type * as Table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as TimeSeries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

export type Plain<T> = T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer E> ? Array<Plain<E>>
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;

interface Query extends DataQuery {
  datasource: DataSourceRef;
  expr: string;
  editorMode: "code" | "builder";
  exemplar?: boolean;
  format?: "time_series" | "table" | "heatmap";
  instant?: boolean;
  interval?: string;
  legendFormat?: string;
  range?: boolean;
}

interface Link {
  title: string;
  url: string;
  targetBlank: boolean;
}

type FieldDefaults<F> = Omit<FieldConfigSource["defaults"], "custom" | "links"> & { custom?: Partial<F>; links?: Link[] };

interface Of<Kind extends string, Options, F> extends Omit<Panel, "type" | "options" | "fieldConfig" | "targets" | "datasource"> {
  type: Kind;
  datasource: DataSourceRef;
  description: string;
  fieldConfig: { defaults: FieldDefaults<F>; overrides: FieldConfigSource["overrides"] };
  options: Options;
  targets: Query[];
}

export type HeatmapPanel = Plain<Of<"heatmap", Heatmap.Options, Heatmap.FieldConfig>>;
export type LogsPanel = Plain<Of<"logs", Logs.Options, object>>;
export type StatPanel = Plain<Of<"stat", Stat.Options, object>>;
export type StateTimelinePanel = Plain<Of<"state-timeline", StateTimeline.Options, StateTimeline.FieldConfig>>;
export type TablePanel = Plain<Of<"table", Table.Options, Table.FieldConfig>>;
export type TimeSeriesPanel = Plain<Of<"timeseries", TimeSeries.Options, TimeSeries.FieldConfig>>;
export type Row = Plain<RowPanel>;

type Annotation = AnnotationQuery<DataQuery & { expr: string; interval?: string }> & { titleFormat?: string; textFormat?: string; tagKeys?: string };
type Variable = VariableModel & { definition?: string };

export type Board = Plain<Omit<Dashboard, "annotations" | "templating"> & { annotations: { list: Annotation[] }; templating: { list: Variable[] } }>;

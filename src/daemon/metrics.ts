import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** One series of a metric. Labels are the metric's own, each given. */
export interface Sample<Label extends string> {
  readonly labels?: Readonly<Record<Label, string>>;
  readonly value: number;
}

export interface MetricText<Label extends string> {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly Label[];
}

/** Reads a metric's samples at a scrape; what lives in another thread takes a moment. */
export type ReadSamples<Label extends string> = () => Iterable<Sample<Label>> | Promise<Iterable<Sample<Label>>>;

/** Series of one metric that are shown; a node with 1,000 routes of two versions stays below it. */
export const MAX_SERIES_PER_METRIC = 10_000;

/**
 * The metrics of one process. Hot paths count in plain numbers; `counter` and `gauge` take a closure that is read at each
 * scrape. Beyond `MAX_SERIES_PER_METRIC` series are left out and counted in `onehop_metrics_left_out`.
 */
export class Metrics {
  readonly registry = new Registry();
  readonly #leftOut = new Map<string, number>();

  constructor() {
    this.gauge({ name: 'onehop_metrics_left_out', help: 'Series beyond the bound per metric at the last scrape', labels: ['metric'] }, () =>
      [...this.#leftOut].map(([metric, value]) => ({ labels: { metric }, value })),
    );
  }

  /** A counter whose values are read at each scrape; they must only grow, and start at 0 with the process. */
  counter<Label extends string>(text: MetricText<Label>, read: ReadSamples<Label>): void {
    this.#collected(Counter<Label>, text, read);
  }

  /** A gauge whose values are read at each scrape. */
  gauge<Label extends string>(text: MetricText<Label>, read: ReadSamples<Label>): void {
    this.#collected(Gauge<Label>, text, read);
  }

  /** A histogram for rare events (an apply, a reload), observed directly; `buckets` in the metric's unit, ascending. */
  histogram(text: MetricText<never>, buckets: readonly number[]): (value: number) => void {
    const metric = new Histogram({ name: text.name, help: text.help, buckets: [...buckets], registers: [this.registry] });
    return (value) => metric.observe(value);
  }

  /** The exposition text of all metrics (Prometheus text format 0.0.4). */
  render(): Promise<string> {
    return this.registry.metrics();
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  #collected<Label extends string>(Kind: typeof Counter<Label> | typeof Gauge<Label>, text: MetricText<Label>, read: ReadSamples<Label>): void {
    const metric = new Kind({
      name: text.name,
      help: text.help,
      labelNames: text.labels ?? [],
      registers: [this.registry],
      collect: async () => {
        const samples = await read();
        metric.reset();
        for (const { labels, value } of this.#bounded(text.name, samples)) {
          if (labels === undefined) metric.inc(value);
          else metric.inc(labels, value);
        }
      },
    });
  }

  *#bounded<Label extends string>(name: string, samples: Iterable<Sample<Label>>): Iterable<Sample<Label>> {
    let seen = 0;
    for (const sample of samples) if (seen++ < MAX_SERIES_PER_METRIC) yield sample;
    if (seen > MAX_SERIES_PER_METRIC) this.#leftOut.set(name, seen - MAX_SERIES_PER_METRIC);
    else this.#leftOut.delete(name);
  }
}

import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { describeRoutes, type OverheadResult } from './overhead-result.ts';
import { median } from './statistics.ts';

/** Bars of CPU per request, a panel per case, the range of the rounds as a line: an SVG of its own. */
export async function plotOverhead({ cases }: OverheadResult): Promise<string> {
  const order = cases[0]?.variants.map(({ name }) => name) ?? [];
  const values = cases.flatMap(({ routes, load, variants }) =>
    variants.map(({ name, cpuMicroseconds }) => ({
      panel: `${describeRoutes(routes)}, ${load}`,
      proxy: name,
      cpu: median(cpuMicroseconds),
      low: Math.min(...cpuMicroseconds),
      high: Math.max(...cpuMicroseconds),
    })),
  );
  const y = { field: 'proxy', type: 'nominal', sort: order, title: null } as const;
  const spec: TopLevelSpec = {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    data: { values },
    facet: { field: 'panel', type: 'nominal', title: null, sort: [...new Set(values.map(({ panel }) => panel))] },
    columns: 2,
    spec: {
      width: 240,
      layer: [
        {
          mark: { type: 'bar', height: { band: 0.7 } },
          encoding: { y, x: { field: 'cpu', type: 'quantitative', title: 'CPU microseconds per request' }, color: { field: 'proxy', type: 'nominal', sort: order, legend: null } },
        },
        { mark: 'rule', encoding: { y, x: { field: 'low', type: 'quantitative' }, x2: { field: 'high' } } },
        { mark: { type: 'text', align: 'left', dx: 6 }, encoding: { y, x: { field: 'high', type: 'quantitative' }, text: { field: 'cpu', type: 'quantitative', format: '.1f' } } },
      ],
    },
  };
  return await new View(parse(compile(spec).spec), { renderer: 'none' }).toSVG();
}

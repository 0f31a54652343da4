import {type Report, summary, table} from './everywhere/report';

const REPORTS: Report[] = [
  {
    place: 'Node',
    backend: 'cpu',
    outcomes: [
      {behaviour: 'is exact', kind: 'Dense', tolerance: 0, deviation: 0},
      {behaviour: 'is exact', kind: 'Conv2D', tolerance: 0, deviation: 0},
      {behaviour: 'is close', kind: 'Dense', tolerance: 1e-5, deviation: 2e-7},
      {behaviour: 'is close', kind: 'Conv2D', tolerance: 1e-5, deviation: 3.4e-6},
    ],
  },
  {place: 'Node', backend: 'tensorflow', missing: 'Ask for it.', outcomes: []},
  {
    place: 'Chromium',
    backend: 'webgl-float16',
    outcomes: [
      {behaviour: 'is exact', kind: 'Dense', tolerance: 0, deviation: 0},
      {behaviour: 'is exact', kind: 'Conv2D', tolerance: 0, deviation: 1e-9},
      {behaviour: 'is close', kind: 'Dense', tolerance: 1e-2, deviation: 4e-3},
    ],
  },
  {place: 'Chromium', backend: 'webgpu', outcomes: [{behaviour: 'is close', tolerance: 1e-5, error: 'thrown'}]},
];

test('the table shows the largest deviation, what fails, what did not run and where more is allowed', () => {
  expect(table(REPORTS).split('\n')).toEqual([
    '| behaviour | at most | cpu, Node | tensorflow, Node | webgl-float16, Chromium | webgpu, Chromium |',
    '| --- | ---: | ---: | ---: | ---: | ---: |',
    '| is exact | 0 | 0 | – | **fails** | – |',
    '| is close | 1e−5 | 3e−6 | – | 4e−3 (at most 1e−2) | **fails** |',
  ]);
});

test('the summary says which backends ran, which did not and how to get those', () => {
  expect(summary(REPORTS).split('\n')).toEqual([
    'Backends that ran: cpu in Node, webgl-float16 in Chromium, webgpu in Chromium.',
    'Did not run: tensorflow in Node. Ask for it.',
  ]);
});

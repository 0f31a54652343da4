import {readCases} from './cases';
import {compared} from './drawn';

// What test/python/make_onnx_drawn.py drew once. `npm run check -- onnx` draws others each time.
const CASES = readCases('drawn');

beforeEach(() => {
  jest.spyOn(console, 'warn').mockReturnValue();
});

test('drawn operations compute what ONNX Runtime computes, or are refused at import', async () => {
  const counts = {equal: 0, refused: 0};
  const faults: string[] = [];
  for (const each of CASES) {
    const outcome = await compared(each);
    if (outcome.result === 'fault') {
      faults.push(`${each.name}: ${outcome.why}`);
    } else {
      counts[outcome.result]++;
    }
  }
  expect(faults).toEqual([]);
  expect(counts.equal).toBeGreaterThan(0.8 * CASES.length);
});

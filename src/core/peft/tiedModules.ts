import type {Values} from '../../platform/formats/layout';
import {borrowing} from '../layers/borrowingLayer';
import {baseOf} from '../layers/layerMarks';
import type {Site} from '../rewire/walk';
import type {TorchModule} from './parsePeft';

/** Takes the weight of a tied head, and its tokens, out of the modules; says so where they differ from the table's. */
export function partTied(
  met: ReadonlyMap<string, Site>,
  modules: ReadonlyMap<string, TorchModule>,
  sites: readonly Site[],
): string[] {
  const bySite = new Map([...met].map(([path, site]) => [site, modules.get(path)]));
  const equal = (one: Values, other: Values | undefined) =>
    one.data.length === other?.data.length && one.data.every((value, i) => value === other.data[i]);
  return sites.flatMap(site => {
    const borrower = borrowing(baseOf(site.layer));
    const lender = sites.find(({layer}) => layer === borrower?.lender);
    const module = bySite.get(site);
    const [borrowed, lent] = [site, lender].map(tiedSite =>
      tiedSite === undefined ? undefined : bySite.get(tiedSite),
    );
    const [weight, table] = [borrowed, lent].map(tiedModule => tiedModule?.saved.get('weight'));
    if (borrower === undefined || lender === undefined || (weight ?? table ?? borrowed?.tokens) === undefined) {
      return [];
    }
    const isOneTable = weight === undefined ? table === undefined : equal(weight, table);
    const isOneRow = borrowed?.tokens === undefined || equal(borrowed.tokens.rows, lent?.tokens?.rows);
    if (!isOneTable || !isOneRow) {
      return [
        `${site.path}: it shares the embedding of ${lender.path} in this model, but not in the adapter. Load ` +
          'the model with loadTransformer and {tied: false}',
      ];
    }
    module?.saved.delete('weight');
    delete module?.tokens;
    return [];
  });
}

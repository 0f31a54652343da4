import {viT} from './vit';

/** DeiT: a ViT with a second token, distilled from a teacher. (Touvron et al., arXiv 2012.12877.) */
export const deit = viT({
  prefix: 'deit',
  classes: {
    DeiTModel: 'none',
    DeiTForImageClassification: 'classes',
    DeiTForImageClassificationWithTeacher: 'taught',
  },
  tokens: ['cls_token', 'distillation_token'],
});

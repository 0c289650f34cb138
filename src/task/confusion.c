/* The confusion matrix as SVG. */
#include "core/svg.h"
#include "task/classification.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

xp_status xp_confusion_write(const char *path, const char *title, const char *set, const xp_evaluation *evaluation) {
    const xp_classes *own = xp_evaluation_classes(evaluation);
    const int classes = own->classes, deciding = evaluation->task->deciding;
    double cell = classes <= 12 ? 46 : fmax(6, 560.0 / classes), left = 150, top = 150, side = cell * classes;
    bool labelled = cell >= 11;
    xp_writer out = {0};
    char text[64], colour[8], note[192];
    xp_svg_begin(&out, fmax(left + side + 40, 480), top + side + 40, title);
    snprintf(note, sizeof note, "%s: %lld samples, accuracy %.2f %%", set, (long long)evaluation->count,
             100 * evaluation->metrics[deciding]);
    xp_svg_text(&out, 24, 50, "start", 12, XP_SVG_SOFT, "400", note);
    xp_svg_text(&out, left + side / 2, top + side + 24, "middle", 12, XP_SVG_SOFT, "400", "predicted");
    xp_svg_turned_text(&out, 28, top + side / 2, -90, "middle", 12, XP_SVG_SOFT, "true");
    for (int row = 0; row < classes; row++) {
        double y = top + row * cell, total = 0;
        for (int column = 0; column < classes; column++) total += (double)own->confusion[row * classes + column];
        if (labelled) {
            xp_svg_shorten(own->names[row], 14, text, sizeof text);
            xp_svg_text(&out, left - 8, y + cell / 2 + 4, "end", 11, XP_SVG_INK, "400", text);
            xp_svg_turned_text(&out, left + row * cell + cell / 2 + 4, top - 8, -45, "start", 11, XP_SVG_INK, text);
        }
        for (int column = 0; column < classes; column++) {
            int64_t count = own->confusion[row * classes + column];
            double x = left + column * cell, share = total > 0 ? (double)count / total : 0;
            if (count == 0 && !labelled) continue; /* a hundred classes make ten thousand empty cells */
            xp_svg_shade(share, colour);
            xp_write(&out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" stroke=\"%s\"/>\n",
                     x, y, cell, cell, colour, cell >= 20 ? XP_SVG_GRID : "none");
            if (count == 0 || cell < 30) continue;
            snprintf(text, sizeof text, "%lld", (long long)count);
            xp_svg_text(&out, x + cell / 2, y + cell / 2 + 4, "middle", strlen(text) > 5 ? 9 : 11,
                        share > 0.4 ? XP_SVG_PAPER : XP_SVG_INK, "400", text);
        }
    }
    xp_svg_frame(&out, left, top, side, side);
    return xp_svg_finish(&out, path);
}

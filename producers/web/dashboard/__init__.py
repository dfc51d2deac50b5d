"""The dashboard: pages for people, over the same objects as the admin API.

How a page is made
==================

A page is a `page.Page`: an address, a handler, a title, the scope that its reader needs, and its place in
the menu. A module of pages has a table ``PAGES`` of them, which `site.PAGES` takes up; the menu follows its
order.

    async def _overview(request: web.Request) -> web.StreamResponse:
        found = await request.app[HUB].admin.desk.fetch(res.RUNS, Listing(request[TENANT], sort="-id"), 5)
        return render(request, "overview.html", runs=found.rows)

    PAGES: Final = (Page("/ui/overview", _overview, "Overview", menu=Menu.WATCH),)

The guard (`guard.py`) has seen to session, role and tenant, and, of forms, to token and origin. A handler
finds ``request[TENANT]``, ``request[KEY]`` (``user:NAME``, as the audit names them),
``request[SESSION].user`` and ``request.app[HUB]``. It raises `Problem` for what it refuses: people get a
page that says so.

Reading
-------

- A list of the admin API is a `lists.ListPage`, one table of columns, filters and links (see
  `audit_pages`). It has the filters, orders, paging and CSV of the API. A template of its own extends
  ``list.html`` and replaces the block ``rows`` or ``above``.
- One entity: `producers.web.admin.lists.whole` and `single`, the same functions that answer the API.
- Anything else: ``await hub.admin.desk.within(work)`` with a function of an admin module. Pages have no
  SQL.

Doing
-----

An action is a `deeds.Deed`. It names the route of the admin API that does it, so page and API cannot
differ; the variables of its path are those of the route. Its button is ``{{ deed_form(deed, {"entity":
"person/P1"}) }}``, with ``path=`` where the path has variables. Sent, it shows a page that asks once more,
with a preview where the route has a dry run; agreed to, it does it, tells in a message what was done, and
goes back. `deeds.perform` has a route do something from a handler of one's own. Everything works without
JavaScript.

Templates
---------

``{% extends "base.html" %}``; blocks ``actions`` (right of the heading), ``content``, ``scripts`` and
``styles``; pass ``trail=[("Parked", "/ui/parked")]`` for what stands above the heading. Import what is
needed with ``{% from "parts.html" import table, pager, badge with context %}``: ``table``, ``pager``,
``filters``, ``facts`` (a row told column by column), ``badge`` (a state), ``shown`` (any value), ``empty``,
``form_head`` (token and tenant: in every form that is posted), ``deed_form``. Classes: ``card``, ``cols``,
``tiles`` and ``tile``, ``message``, ``stack``. Filters of `shown`: ``moment``, ``value``, ``words``,
``tone``, ``pretty``. Values are escaped; nothing is marked safe.

- No ``style=``, ``<style>``, ``on...=`` and no script with content: the policy forbids them. Data for a
  script goes into ``data-...`` attributes; scripts are files of ``static``, named in the block ``scripts``.
- A part that is live: ``hx-get`` of the same address, ``hx-trigger="every 10s"``, ``hx-select`` of its id,
  ``hx-swap="outerHTML"`` and ``hx-headers='{"X-Hub-Live": "1"}'``, without which it would keep the session
  open.
- A chart: ``<div class="chart" data-chart="{{ figures | tojson | forceescape }}"></div>``, with the files
  ``vendor/uPlot.iife.min.js``, ``charts.js`` and ``vendor/uPlot.min.css``, and a table of the same figures
  beside it.
- Tables on narrow screens become cards: each cell has ``data-label``, tables, rows and cells their roles.
"""
